"""The worker's part of an import: have the trainer take golden samples, publish, have the engine answer, name it.

One after the other: each loads a base model. All it knows is in the database and on the disk, so a new one goes on.
"""

import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from sqlalchemy.exc import DBAPIError

from inference.adapter_config import CONFIG
from inference.adapter_files import WEIGHTS
from inference.engine import AdapterRef, AdapterRejected, EngineUnavailable
from server.adapter_imports import repository
from server.adapter_imports.desk import ImportDesk, ImportDirectory
from server.adapter_imports.recording import add_imported_record
from server.adapter_imports.unusable import UNUSABLE_ADAPTER
from server.base_models import BaseModelEntry
from server.db.tables import ModelImportRow
from server.fine_tuning.running.training_spec import source_of
from server.fine_tuning.worker_services import WorkerServices
from server.launchers.launcher import Exited, LaunchRefused, LaunchRequest, NoCapacity, Running
from server.models.names import parse_model_name
from server.name_locks import NameLocks
from server.record.hashes import FileHashes
from server.vocabulary import ImportStage, JobErrorCode
from trainer.contract.checkpoint import publish_directory
from trainer.contract.examine import ExamineReport, ExamineSpec
from trainer.contract.golden import GOLDEN_SAMPLES
from trainer.contract.run_directory import RunDirectory

_LOG = logging.getLogger("tunesmith.worker")
_POLL_S = 0.5
_SWEEP_EVERY_S = 10.0
_ENGINE_BACK_OFF_S, _FAULT_BACK_OFF_S = 2.0, 30.0


@dataclass
class AdapterImporter:
    services: WorkerServices
    _not_before: dict[str, float] = field(default_factory=dict)
    _sweep_at: float = 0.0

    def run(self, stop: Event) -> None:
        """Work until told to stop. A busy database or a full disk is left to the next time."""
        while not stop.wait(_POLL_S):
            try:
                self.tick()
            except (DBAPIError, OSError) as error:
                _LOG.error("the imports of adapters broke off: %s", type(error).__name__)

    def tick(self) -> None:
        """Act on the oldest import that does not wait for anything."""
        now = self.services.clock()
        for row in repository.list_unfinished(self.services.database):
            if self._not_before.get(row.id, 0.0) <= now:
                self._act_safely(row)
                break
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP_EVERY_S
            self._sweep()

    def _act_safely(self, row: ModelImportRow) -> None:
        try:
            self._act(row)
        except (EngineUnavailable, NoCapacity):
            self._not_before[row.id] = self.services.clock() + _ENGINE_BACK_OFF_S
        except (DBAPIError, OSError, ValueError) as error:
            _LOG.error("import %s: %s", row.id, type(error).__name__)
            self._not_before[row.id] = self.services.clock() + _FAULT_BACK_OFF_S

    def _act(self, row: ModelImportRow) -> None:
        directory = ImportDirectory(self.services.settings.model_imports / row.id)
        base = self.services.base_models.find(row.base_model)
        if base is None:
            self._fail(row, JobErrorCode.BASE_MODEL_UNAVAILABLE, "The base model is not offered any more.")
        elif not directory.adapter.is_dir():
            self._fail(row, JobErrorCode.INTERNAL_ERROR, "The import's files are gone. Import the adapter again.")
        else:
            self._follow(row, base, directory)

    def _follow(self, row: ModelImportRow, base: BaseModelEntry, directory: ImportDirectory) -> None:
        outcome = RunDirectory(directory.examination).read_examine_outcome()
        if outcome is None:
            self._examine(row, base, directory)
        elif outcome.report is not None:
            self._publish(row, base, directory, outcome.report)
        elif outcome.failure is not None:
            self._fail(row, outcome.failure.code, outcome.failure.message)
        else:
            self._fail(row, UNUSABLE_ADAPTER, outcome.unfit or "")

    def _examine(self, row: ModelImportRow, base: BaseModelEntry, directory: ImportDirectory) -> None:
        """Start the trainer, or see how it does."""
        run = RunDirectory(directory.examination)
        if row.stage == ImportStage.WAITING:
            services = self.services
            repository.begin_to_look(services.database, row, services.placement, now=services.clock())
        if not run.examine_spec.exists():
            run.root.mkdir(exist_ok=True)
            run.write_examine_spec(
                ExamineSpec(
                    base_model=source_of(base),
                    quantization=base.serve_quantized,
                    adapter=directory.adapter,
                    context_length_tokens=base.context_length,
                    threads=self.services.settings.trainer_threads,
                )
            )
        try:
            state = self.services.launcher.poll(self.services.launcher.launch(LaunchRequest(run.root, "examine")))
        except LaunchRefused as error:
            self._fail(row, JobErrorCode.TRAINER_CRASHED, f"The adapter could not be looked at: {error}.")
            return
        if isinstance(state, Running) or run.read_examine_outcome() is not None:
            return
        if isinstance(state, Exited) and not state.service_stopped:
            self._fail(
                row,
                JobErrorCode.OUT_OF_MEMORY if state.oom_killed else JobErrorCode.TRAINER_CRASHED,
                f"Looking at the adapter ended with exit code {state.code} and no report. It needs 4 bytes of memory "
                "for each of the base model's parameters. Ask the operator.",
            )
        else:
            shutil.rmtree(run.root)  # the service was stopped meanwhile: once more
            repository.move_to(self.services.database, row, ImportStage.WAITING)

    def _publish(
        self, row: ModelImportRow, base: BaseModelEntry, directory: ImportDirectory, report: ExamineReport
    ) -> None:
        """The name exists once the engine has answered with it. Raises: EngineUnavailable."""
        if row.stage != ImportStage.PUBLISHING:
            repository.move_to(self.services.database, row, ImportStage.PUBLISHING)
        final = self._final(row)
        if not final.exists():
            staged = final.with_name(f"{final.name}.tmp")
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(parents=True)
            for source in (directory.adapter / CONFIG, directory.adapter / WEIGHTS):
                shutil.copyfile(source, staged / source.name)
            shutil.copyfile(directory.examination / GOLDEN_SAMPLES, staged / GOLDEN_SAMPLES)
            add_imported_record(staged, row, base, report, FileHashes(self.services.settings.hashes))
            publish_directory(staged, final)
        adapter = AdapterRef(row.model_name, row.base_model, final, row.rank, row.sha256)
        try:
            self.services.adapters.verify(adapter)
        except AdapterRejected as error:
            self._fail(row, JobErrorCode.MODEL_NOT_SERVABLE, f"The adapter could not be served: {error}")
            return
        repository.succeed(self.services.database, row, adapter, now=self.services.clock())
        shutil.rmtree(directory.root, ignore_errors=True)

    def _fail(self, row: ModelImportRow, code: str, message: str) -> None:
        repository.fail(self.services.database, row, code=code, message=message, now=self.services.clock())
        for directory in (self._final(row), self.services.settings.model_imports / row.id):
            shutil.rmtree(directory, ignore_errors=True)

    def _final(self, row: ModelImportRow) -> Path:
        name = parse_model_name(row.model_name)
        if name is None:
            raise ValueError("an import has a name for its model")
        return self.services.settings.adapters / name.unique

    def _sweep(self) -> None:
        """Delete what a killed process left: an archive that came half, files of an import that has ended."""
        desk = ImportDesk(self.services.settings.model_imports, NameLocks(self.services.settings.locks))
        desk.sweep(lambda: {row.id for row in repository.list_unfinished(self.services.database)})
