"""Makes every imported job again on a base model of this home; its old names go to the models that come of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy import Engine

from server.base_models import BaseModels
from server.db.project_session import project_session
from server.db.tables import JobRow
from server.errors import InvalidRequest
from server.fine_tuning.schemas import CreateFineTuningJobRequest
from server.fine_tuning.service import Offer, create_job
from server.ids import ProjectId
from server.importing import repository
from server.importing.report import Section
from server.importing.successor_table import find_successor
from server.models.resolving import UsableModel, find_model
from server.vocabulary import JobStatus, MethodType

_REPEATED = (MethodType.SUPERVISED, MethodType.DPO)  # of OpenAI's methods, those that are trained here


@dataclass
class Rerun:
    database: Engine
    base_models: BaseModels
    project_id: ProjectId
    table: Mapping[str, str]
    section: Section

    def repeat_all(self) -> None:
        """Oldest first. Each is repeated once, however often this is done; again only if its repetition failed."""
        with project_session(self.database, self.project_id) as session:
            imported = repository.list_imported_jobs(session)
        own_models = {job.fine_tuned_model for job in imported}
        for job in imported:
            if job.status is not JobStatus.SUCCEEDED:
                continue
            base = self._find_base(job)
            if base is not None:
                self._repeat(job, base)
            elif job.requested_model in own_models:
                reason = "it goes on from a model whose job has to succeed here first; then run the command again"
                self.section.add_not_copied(job.id, reason)
            else:
                self.section.add_not_copied(job.id, f"the table has no entry for {job.requested_model}")

    def _find_base(self, job: JobRow) -> tuple[str, UsableModel] | None:
        """What the table says; for a job that went on from a fine-tuned model, the successor of that."""
        name = find_successor(self.table, job.requested_model)
        if name is None and job.requested_model.startswith("ft:"):
            name = job.requested_model
        model = None if name is None else find_model(self.database, self.base_models, self.project_id, name)
        return None if name is None or model is None else (name, model)

    def _repeat(self, job: JobRow, base: tuple[str, UsableModel]) -> None:
        name, model = base
        try:
            asked = build_request(job, name)
            offer = Offer(self.base_models, on_gpu=False)  # what OpenAI's jobs ask for needs none
            with project_session(self.database, self.project_id, write=True) as session:
                earlier = repository.list_repetitions(session, job.id)
                if any(other.status is not JobStatus.FAILED for other in earlier):
                    self.section.add_present()
                    return
                repeated = create_job(session, offer, model, asked)
                repeated.rerun_of = job.id
        except ValidationError as error:
            self.section.add_not_copied(job.id, f"its {_field(error)} is none that a job can have here")
        except InvalidRequest as error:
            self.section.add_not_copied(job.id, str(error))
        else:
            self.section.add()
            self.section.say(f"{job.id} is repeated on {name} as {repeated.id}")


def _field(error: ValidationError) -> str:
    """The name of the field at fault, without the types that were tried for it."""
    return ".".join(part for part in map(str, error.errors()[0]["loc"]) if part.isidentifier() and part != "int")


def build_request(job: JobRow, model: str) -> CreateFineTuningJobRequest:
    """The request that would have made the job (pure), with the numbers that it came to.

    Raises:
        ValidationError: it has what no request can ask for here.
    """
    part = {"hyperparameters": job.hyperparameters} if job.method in _REPEATED else None
    return CreateFineTuningJobRequest.model_validate(
        {
            "model": model,
            "training_file": job.training_file,
            "validation_file": job.validation_file,
            "suffix": job.user_provided_suffix or None,
            "seed": job.seed,
            "method": {"type": job.method, job.method: part},
            "metadata": job.job_metadata or None,
        }
    )
