"""The full models that have engines: those that can be asked, and those that are to prove themselves before."""

from collections.abc import Iterator, Mapping, Sequence

from sqlmodel import Session

from server.db.tables import JobRow
from server.fine_tuning.leases import rows_that_need_a_worker
from server.fine_tuning.stages import Stage
from server.models import repository as models
from server.placement.repository import read_engines
from server.placement.sizing import EngineSize, size_of_full


def trains_all(job: JobRow) -> bool:
    """Whether the job trains all of a model's weights; its hyperparameters have been resolved."""
    return bool((job.training_settings or {}).get("trains_all"))


def read_full_models(session: Session) -> dict[str, str]:
    """Names, each with that of its base model."""
    found = {row.name: row.base_model for row in models.list_full(session)}
    for job in rows_that_need_a_worker(session):
        if job.stage == Stage.PUBLISH and job.pending_model is not None and trains_all(job):
            found[job.pending_model] = job.base_model
    return found


def read_engine_sizes(session: Session, of_bases: Sequence[EngineSize]) -> list[EngineSize]:
    """Of all engines, those of base models first. One whose model was deleted counts while it still runs."""
    by_base = {size.base_model: size for size in of_bases}
    current = read_full_models(session)
    leaving = {row.name: row.base_model for row in models.list_deleted_full(session, among=_holding(session))}
    return [*of_bases, *_sizes(current, by_base), *_sizes(leaving, by_base)]


def _sizes(full: Mapping[str, str], by_base: Mapping[str, EngineSize]) -> Iterator[EngineSize]:
    """One whose base the settings no longer have cannot be started."""
    for name, base in full.items():
        if base in by_base:
            yield size_of_full(by_base[base], name)


def _holding(session: Session) -> list[str]:
    return [name for name, standing in read_engines(session).items() if standing.holds_memory]
