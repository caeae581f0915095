"""The names of an imported job's models, and the models here that take them over when the job was run again."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session

from server.db.tables import CheckpointRow, JobRow
from server.fine_tuning.leases import checkpoints_of
from server.models.repository import find_alias_of, find_model, set_alias_of
from server.vocabulary import JobStatus


@dataclass(frozen=True)
class Lineage:
    """What of a job decides which of its models are whose successors."""

    final: str | None  # the job's model
    n_epochs: object
    checkpoints: Sequence[tuple[int, str]]  # step and name; the highest step is the end of the training


def take_over_names(session: Session, job: JobRow, *, now: float) -> list[tuple[str, str]]:
    """Let the old names of the job that this one repeats stand for its models. Idempotent.

    A name that an operator has given to another model, which is still there, stays as it is.
    Returns the names that were set, each with its model.
    """
    old = None if job.rerun_of is None else session.get(JobRow, job.rerun_of)
    if old is None or old.project_id != job.project_id or job.status != JobStatus.SUCCEEDED:
        return []
    set_now = []
    for name, successor in successors(_lineage(session, old), _lineage(session, job)).items():
        if _is_free(session, job.project_id, name) and find_model(session, successor) is not None:
            set_alias_of(session, job.project_id, name, successor, now=now)
            set_now.append((name, successor))
    return set_now


def successors(old: Lineage, new: Lineage) -> dict[str, str]:
    """Pair the models of two jobs (pure): the final ones, and checkpoints after the same part of equal trainings."""
    if old.final is None or new.final is None:
        return {}
    pairs = {}
    if old.checkpoints and new.checkpoints and old.n_epochs == new.n_epochs:
        old_end, new_end = (max(step for step, _ in lineage.checkpoints) for lineage in (old, new))
        pairs = {
            name: successor
            for step, name in old.checkpoints
            for other_step, successor in new.checkpoints
            if step * new_end == other_step * old_end
        }
    return pairs | {old.final: new.final}


def _is_free(session: Session, project_id: str, name: str) -> bool:
    """Whether the name means nothing in the project, or a fine-tuned model that is gone."""
    model = find_model(session, name)
    if model is not None and model.project_id == project_id:
        return False
    alias = find_alias_of(session, project_id, name)
    return alias is None or (alias.target.startswith("ft:") and find_model(session, alias.target) is None)


def _lineage(session: Session, job: JobRow) -> Lineage:
    rows: Sequence[CheckpointRow] = checkpoints_of(session, job)
    n_epochs = (job.hyperparameters or {}).get("n_epochs")
    return Lineage(job.fine_tuned_model, n_epochs, [(row.step, row.model_name) for row in rows])
