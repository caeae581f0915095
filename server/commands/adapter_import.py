"""`tunesmith models import`: an adapter of the operator's own, handed to the service as a client would."""

import sys
import time
from argparse import Namespace
from pathlib import Path

from sqlalchemy import Engine

from server.adapter_imports import service
from server.adapter_imports.desk import ImportDesk
from server.base_models import load_base_models
from server.commands import repository
from server.commands.failures import CommandFailed
from server.db.project_session import project_session
from server.db.tables import ModelImportRow
from server.fine_tuning.publishing.adapter_check import UnixConnection
from server.ids import ProjectId
from server.name_locks import NameLocks
from server.settings import Settings
from server.vocabulary import ImportStatus

_POLL_S = 0.2
_CONNECT_TIMEOUT_S = 5.0


def import_adapter(asked: Namespace, settings: Settings, database: Engine) -> None:
    """Print the name of the model. Interrupted, the import goes on without this command.

    Raises:
        CommandFailed, ApiError: it cannot be imported; the message says why.
    """
    project = next((row for row in repository.list_projects(database) if row.name == asked.project), None)
    if project is None:
        raise CommandFailed(
            f"there is no project {asked.project}; `tunesmith keys create --project` makes it, with a key"
        )
    if not asked.source.exists():
        raise CommandFailed(f"there is nothing at {asked.source}")
    _require_service(settings.control_socket)
    row = _hand_in(asked, settings, database, ProjectId(project.id))
    print(f"{row.id}: the trainer takes samples of it, and the engine has to say the same", file=sys.stderr)
    print(_wait(database, row))


def _require_service(control_socket: Path) -> None:
    connection = UnixConnection(control_socket, _CONNECT_TIMEOUT_S)
    try:
        connection.connect()
    except OSError as error:
        raise CommandFailed(
            "the service is not running; start `tunesmith serve`: its engine has to answer with the adapter"
        ) from error
    finally:
        connection.close()


def _hand_in(asked: Namespace, settings: Settings, database: Engine, project_id: ProjectId) -> ModelImportRow:
    base_models = load_base_models(settings.base_models_file)
    wanted = service.read_asked(base_models, base_model=asked.base, suffix=asked.suffix)
    with ImportDesk(settings.model_imports, NameLocks(settings.locks)).new_directory() as directory:
        rebuilt = service.stage_adapter(asked.source, directory, wanted, settings)
        with project_session(database, project_id, write=True) as session:
            row = service.create_import(session, directory, wanted, rebuilt)
        directory.is_kept = True
    return row


def _wait(database: Engine, row: ModelImportRow) -> str:
    while row.status is ImportStatus.IN_PROGRESS:
        time.sleep(_POLL_S)
        with project_session(database, ProjectId(row.project_id)) as session:
            row = service.retrieve_import(session, row.id)
    if row.status is ImportStatus.FAILED:
        raise CommandFailed(f"the adapter was not imported: {row.error_message}")
    return row.model_name
