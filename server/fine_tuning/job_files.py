"""The data files of a job: which they are, where they lie in a run directory, and whether they are still there."""

from pathlib import Path

from server.db.tables import FileRow, JobRow
from server.fine_tuning.data_options import mixed_in_files
from server.fine_tuning.leases import find_files
from server.fine_tuning.worker_services import WorkerServices
from trainer.contract.run_directory import RunDirectory


def data_files(services: WorkerServices, job: JobRow, run: RunDirectory) -> list[tuple[str, Path, FileRow | None]]:
    """Of each: its id, its path in the run directory, and its row, None if it was deleted."""
    rows = find_files(services.database, job)
    files = [(job.training_file, run.training_file, rows.training)]
    if job.validation_file:
        files.append((job.validation_file, run.validation_file, rows.validation))
    for place, (file_id, row) in enumerate(zip(mixed_in_files(job), rows.mixed_in, strict=True)):
        files.append((file_id, run.mixed_in_file(place), row))
    return files
