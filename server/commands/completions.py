"""`tunesmith completions export`: a training file of a project's stored completions."""

from argparse import Namespace

from sqlalchemy import Engine

from server.auth.dependencies import ProjectDatabase
from server.bootstrap import Services, build_export_desk, build_services
from server.commands import repository
from server.commands.failures import CommandFailed
from server.commands.home import opened
from server.completion_exports import service
from server.completion_exports.schemas import CompletionExport, CreateCompletionExportRequest, ExportFilter
from server.completion_exports.service import Make
from server.ids import ProjectId
from server.settings import Settings


def run(asked: Namespace, settings: Settings) -> int:
    """Raises: CommandFailed, ApiError."""
    with opened(settings) as database:
        project_id = _find_project(database, asked.project)
    services = build_services(settings)
    try:
        made = _export(services, project_id, _wanted(asked))
    finally:
        services.database.dispose()
    print(f"{made.file.id}: {made.examples} examples of {made.completions} completions")
    for reason, n in made.left_out.items():
        print(f"left out, {reason}: {n}")
    if made.pii is not None:
        kinds = "".join(f", {kind} {n}" for kind, n in made.pii.matches.items())
        print(f"personal data and secrets ({made.pii.policy}): in {made.pii.examples} examples{kinds}")
    return 0


def _find_project(database: Engine, name: str) -> ProjectId:
    project = next((row for row in repository.list_projects(database) if row.name == name), None)
    if project is None:
        raise CommandFailed(f"there is no project {name}; `tunesmith projects list` shows those there are")
    return ProjectId(project.id)


def _wanted(asked: Namespace) -> CreateCompletionExportRequest:
    return CreateCompletionExportRequest(
        filter=ExportFilter(
            model=asked.model,
            metadata=dict(asked.metadata) or None,
            created_after=asked.since,
            created_before=asked.until,
        ),
        choices="all" if asked.all_choices else "first",
        pii=asked.pii,
        filename=asked.filename,
    )


def _export(services: Services, project_id: ProjectId, wanted: CreateCompletionExportRequest) -> CompletionExport:
    db = ProjectDatabase(services.database, project_id)
    made: list[CompletionExport] = []

    def commit(make: Make) -> bool:
        with db.write() as session:
            made.append(make(session))
        return True

    policy = wanted.pii or services.settings.pii_policy
    service.create_export(db, build_export_desk(services), services.blobs, wanted, policy, commit)
    return made[0]
