"""A worker whose ticks a test makes, with played runs and a clock that is turned by hand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import col, select

from inference.engine import AdapterRef, AdapterRejected
from server.bootstrap import Services
from server.db.project_session import project_session
from server.db.system_session import system_session
from server.db.tables import CheckpointRow, FineTunedModelRow, JobEventRow, JobRow
from server.fine_tuning.service import cancel_job, pause_job, resume_job
from server.fine_tuning.worker.reconciler import Reconciler
from server.fine_tuning.worker_services import WorkerServices
from server.launchers.in_memory import InMemoryLauncher
from server.launchers.launcher import Exited, Launcher, Lost
from server.vocabulary import EventType
from tests.factories import make_job
from tests.played_runs import PlayedRun, PlayedTrainer

TWO_STEPS = {"n_epochs": 1, "batch_size": 5, "learning_rate_multiplier": "auto"}  # of ten examples
TEN_STEPS = {**TWO_STEPS, "n_epochs": 5}
PATIENCE_TICKS = 80


@dataclass
class Gate:
    """An `AdapterGate` that looks at the files, as the engine does, and remembers what it was asked."""

    refusals: list[Exception] = field(default_factory=list)  # raised one after the other, then no more
    verified: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)

    def verify(self, adapter: AdapterRef) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        weights = "model.safetensors" if adapter.is_full else "adapter_model.safetensors"
        if not (adapter.directory / weights).is_file():
            raise AdapterRejected("its files are missing")
        self.verified.append(adapter.name)

    def forget(self, engine: str, name: str) -> None:
        assert engine in ("tunesmith-demo", name)
        self.forgotten.append(name)


@dataclass
class Clock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Rig:
    """A home with one project, and a worker whose ticks the test makes."""

    def __init__(self, services: Services, launcher: Launcher) -> None:
        self.services = services
        self.gate = Gate()
        self.clock = Clock()
        self.worker = WorkerServices(
            settings=services.settings,
            database=services.database,
            blobs=services.blobs,
            base_models=services.base_models,
            launcher=launcher,
            adapters=self.gate,
            planning=services.planning,
            placement=services.placement,
            clock=self.clock,
        )
        caller = services.authenticator.authenticate([(b"authorization", b"Bearer test key")])
        self.project_id = caller.project_id
        self.restart()

    def restart(self) -> None:
        """The worker was killed; this is the next one."""
        self._reconciler = Reconciler(self.worker)
        self._reconciler.take_over()

    def tick(self) -> None:
        self._reconciler.tick()
        self._reconciler.settle()
        self.clock.now += 1.0

    def work_until(self, probe: Callable[[], object]) -> None:
        for _ in range(PATIENCE_TICKS):
            if probe():
                return
            self.tick()
        raise AssertionError("worked in vain")

    def finish(self, job: JobRow) -> JobRow:
        """Work until the job has ended and nothing of it is left to do; the job as it is then."""
        self.work_until(lambda: self.job(job).finished_at is not None and self.job(job).stage is None)
        return self.job(job)

    def make_job(self, **columns: Any) -> JobRow:
        return make_job(self.services, self.project_id, **{"requested_hyperparameters": TWO_STEPS, **columns})

    def make_long_job(self) -> JobRow:
        return self.make_job(requested_hyperparameters=TEN_STEPS)

    def cancel(self, job: JobRow) -> None:
        with project_session(self.services.database, self.project_id, write=True) as session:
            cancel_job(session, job.id)

    def pause(self, job: JobRow) -> None:
        with project_session(self.services.database, self.project_id, write=True) as session:
            pause_job(session, job.id)

    def resume(self, job: JobRow) -> None:
        with project_session(self.services.database, self.project_id, write=True) as session:
            resume_job(session, job.id)

    def job(self, job: JobRow) -> JobRow:
        with system_session(self.services.database) as session:
            return session.exec(select(JobRow).where(JobRow.id == job.id)).one()

    def messages(self, job: JobRow) -> list[str]:
        return [event.message for event in self.events(job)]

    def metrics_steps(self, job: JobRow) -> list[int]:
        return [event.data["step"] for event in self.events(job) if event.type == EventType.METRICS and event.data]

    def events(self, job: JobRow) -> list[JobEventRow]:
        with system_session(self.services.database) as session:
            query = select(JobEventRow).where(JobEventRow.job_id == job.id).order_by(col(JobEventRow.seq))
            return list(session.exec(query))

    def models(self) -> list[FineTunedModelRow]:
        with system_session(self.services.database) as session:
            return list(session.exec(select(FineTunedModelRow).order_by(col(FineTunedModelRow.seq))))

    def checkpoints(self) -> list[CheckpointRow]:
        with system_session(self.services.database) as session:
            return list(session.exec(select(CheckpointRow).order_by(col(CheckpointRow.step))))

    def adapters(self) -> set[str]:
        """The names of the directories that models are served from."""
        return {path.name for path in self.services.settings.adapters.iterdir()}


MakeRig = Callable[..., Rig]


def playing(faults: dict[int, Callable[[PlayedRun], Exited | Lost]]) -> tuple[InMemoryLauncher, PlayedTrainer]:
    trainer = PlayedTrainer(faults)
    return InMemoryLauncher(trainer), trainer
