"""The fine-tuned model that a job goes on from: its files are taken over before anybody can delete it."""

from pathlib import Path

from server.db.tables import JobRow
from server.fine_tuning.leases import get_model
from server.fine_tuning.lifecycle import Fail
from server.fine_tuning.publishing.stage import ADAPTER_FILES
from server.fine_tuning.worker_services import WorkerServices
from server.storage.linking import put
from server.vocabulary import JobErrorCode


def stage_parent(services: WorkerServices, job: JobRow, destination: Path) -> Fail | None:
    """Take the files of the job's parent, if it has one. Afterwards the parent's deletion does no harm."""
    if job.parent_model is None:
        return None
    model = get_model(services.database, job.parent_model)
    source = services.settings.adapters / model.directory
    destination.mkdir(parents=True)
    try:
        for file in sorted(source.iterdir()) if model.is_full else [source / file for file in ADAPTER_FILES]:
            put(file, destination / file.name)
    except FileNotFoundError:
        message = f"The model {job.parent_model} was deleted before the job could read it."
        return Fail(JobErrorCode.BASE_MODEL_UNAVAILABLE, message, "model")
    return None
