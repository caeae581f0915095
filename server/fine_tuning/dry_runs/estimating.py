"""Estimates for clients: their files are tokenised by the trainer in a directory of the request's own."""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from server.base_models import BaseModelEntry
from server.db.tables import FileRow
from server.errors import Busy, InvalidRequest
from server.fine_tuning.data_report import DataReport
from server.fine_tuning.dry_runs.dry_run import DryRun
from server.fine_tuning.dry_runs.sampling import Portion, write_sample
from server.fine_tuning.estimates.estimate import Planning, Sampling, build_estimate, judge
from server.fine_tuning.hyperparameters import Requested, sequence_limit, wanted_quantization
from server.fine_tuning.leases import existing_files, measured_runs
from server.fine_tuning.lifecycle import Fail, job_error_code
from server.fine_tuning.running.training_spec import source_of
from server.fine_tuning.serving_contract import form_of_files
from server.fine_tuning.validating.findings import failure_of, named
from server.fine_tuning.validating.stage import find_fault, resolve_report
from server.ids import random_base62
from server.launchers.launcher import Launcher, LaunchRequest, Running
from server.name_locks import HeldName, NameLocks
from server.storage.blob_store import BlobKey, BlobMissing, BlobStore
from server.storage.token_cache import TokenCache
from server.vocabulary import JobErrorCode
from trainer.contract.invalid import ExampleInvalid
from trainer.contract.report import CheckReport, param_of
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import CheckSpec, MethodName, PiiPolicy, WantedSelection

_AT_ONCE = 2  # each of another project: nobody keeps the others waiting
_TIME_LIMIT_S = 120.0
_POLL_S = 0.05


@dataclass(frozen=True)
class Question:
    """A job that could be created."""

    base: BaseModelEntry
    training: FileRow
    validation: FileRow | None
    requested: Requested
    pii: PiiPolicy
    lora: Mapping[str, Any]  # of the adapter that the training goes on from; empty: of a base model
    mixed_in: Sequence[FileRow] = ()
    selection: WantedSelection | None = None
    method: MethodName = "supervised"


@dataclass(frozen=True)
class EstimateDesk:
    """Answers a few questions at once; who comes while it is busy is asked to come again."""

    database: Engine
    blobs: BlobStore
    launcher: Launcher
    planning: Planning
    root: Path  # of the directories in which files are tokenised
    tokens: TokenCache
    locks: NameLocks  # by which all processes together answer no more at once
    portion: Portion = field(default_factory=Portion)
    time_limit_s: float = _TIME_LIMIT_S

    def answer(self, question: Question) -> DryRun:
        """Blocks for as long as it takes to tokenise the files.

        Raises:
            InvalidRequest: a job of these files would fail; with its message.
            Busy: the project is asking already, enough others are, or it took too long.
        """
        with self._turn(question.training.project_id), self._directory() as run:
            return self._answer(question, run)

    @contextmanager
    def _turn(self, project_id: str) -> Iterator[None]:
        with (
            _or_busy(self.locks.take("estimate of project", project_id)),
            _or_busy(self.locks.take_one(_AT_ONCE, "estimate")),
        ):
            yield

    def _answer(self, question: Question, run: RunDirectory) -> DryRun:
        base = question.base
        sampling, of_validation = self._stage_files(question, run)
        mixed_in = [row.id for row in question.mixed_in]
        _refuse(find_fault(run, question.method), mixed_in)
        report = self._check(run, question)
        if report.failure is not None:
            failure = report.failure
            _refuse(Fail(job_error_code(failure.code), failure.message, failure.param), mixed_in)
        self._keep_tokens(question, run)
        _refuse(failure_of(report.findings, mixed_in))
        planning = replace(self.planning, measured=measured_runs(self.database, base.name))
        # What "auto" comes to depends on the whole file, not on the part that was looked at.
        whole = report.model_copy(
            update={
                "training": report.training and sampling.scaled(report.training),
                "validation": report.validation and of_validation.scaled(report.validation),
            }
        )
        requested, on_gpu = question.requested, planning.device == "cuda"
        method = question.method
        resolved = resolve_report(
            whole, requested, base, question.lora, method=method, on_gpu=on_gpu, max_rank=planning.max_rank
        )
        judgement = judge(
            whole,
            resolved,
            wanted_quantization(requested, base.serve_quantized, form_of_files(base)),
            planning,
            method=method,
        )
        estimate = build_estimate(whole, resolved, judgement, planning, sampling, method=method)
        return DryRun(**dict(estimate), data_gate=DataReport.from_report(report, question.pii))

    def _stage_files(self, question: Question, run: RunDirectory) -> tuple[Sampling, Sampling]:
        """How what is trained on, and what is validated with, grows from what is looked at."""
        sampling, of_validation = self._stage(run, question.training, run.training_file), Sampling()
        if question.validation is not None:
            of_validation = self._stage(run, question.validation, run.validation_file)
        for place, row in enumerate(question.mixed_in):
            self._stage(run, row, run.mixed_in_file(place))
        wanted = question.selection
        if wanted is not None and wanted.pilot is not None:
            sampling = sampling.of_pilot(wanted.pilot)
        if wanted is not None and wanted.holdout is not None:
            of_validation = sampling
        return sampling, of_validation

    def _stage(self, run: RunDirectory, row: FileRow, destination: Path) -> Sampling:
        key, kind = BlobKey(row.id), run.kind_of(destination)
        try:
            if row.bytes > self.portion.whole_up_to_bytes:
                chunks = self.blobs.open(key)
                return write_sample(chunks, destination, file_bytes=row.bytes, portion=self.portion)
            self.blobs.stage(key, destination)
            self.tokens.offer(row.id, run.offered_tokens(destination))
        except BlobMissing as error:
            raise InvalidRequest(f"invalid {param_of(kind)}: {row.id}", param=param_of(kind)) from error
        except ExampleInvalid as error:
            code = "invalid_validation_file" if kind == "validation" else "invalid_training_file"
            raise InvalidRequest(error.job_message(kind), param=param_of(kind), code=code) from error
        return Sampling()

    def _check(self, run: RunDirectory, question: Question) -> CheckReport:
        run.write_check_spec(
            CheckSpec(
                job_id=run.root.name,
                base_model=source_of(question.base),
                method=question.method,
                context_length_tokens=sequence_limit(question.requested, question.base.context_length),
                pii=question.pii,
                selection=question.selection,
            )
        )
        deadline = time.monotonic() + self.time_limit_s
        handle = self.launcher.launch(LaunchRequest(run.root, "check"))
        try:
            while isinstance(self.launcher.poll(handle), Running):
                if time.monotonic() > deadline:
                    raise Busy("The files could not be tokenised in time: the server is busy. Try again later.")
                time.sleep(_POLL_S)
        finally:
            self.launcher.stop(handle, 0.0)
        report = run.read_report()
        if report is None:
            raise Busy("The files could not be tokenised: the process ended without a report. Try again later.")
        return report

    def _keep_tokens(self, question: Question, run: RunDirectory) -> None:
        """For the job that is asked about; those of a file that was deleted meanwhile go."""
        files = [(question.training, run.training_file)]
        if question.validation is not None:
            files.append((question.validation, run.validation_file))
        files += [(row, run.mixed_in_file(place)) for place, row in enumerate(question.mixed_in)]
        whole = [(row, path) for row, path in files if row.bytes <= self.portion.whole_up_to_bytes]
        for row, path in whole:
            self.tokens.keep(row.id, run.tokens(path))
        known = existing_files(self.database, [row.id for row, _ in whole])
        for row, _ in whole:
            if row.id not in known:
                self.tokens.delete(row.id)

    @contextmanager
    def _directory(self) -> Iterator[RunDirectory]:
        root = self.root / random_base62(16)
        with _hold_directory(self.locks, root) or nullcontext():  # nobody holds a name that was just drawn
            root.mkdir(parents=True, mode=0o700)
            try:
                yield RunDirectory(root)
            finally:
                shutil.rmtree(root, ignore_errors=True)


def delete_leftovers(root: Path, locks: NameLocks) -> None:
    """Delete what estimates left whose process was killed. A check that still runs there ends without its report."""
    for directory in root.iterdir() if root.exists() else ():
        if (held := _hold_directory(locks, directory)) is not None:
            with held:
                shutil.rmtree(directory, ignore_errors=True)


def _hold_directory(locks: NameLocks, directory: Path) -> HeldName | None:
    """Keep others from deleting the directory of an estimate that is being made."""
    return locks.take("directory of an estimate", directory.name)


def _or_busy(held: HeldName | None) -> HeldName:
    if held is None:
        raise Busy("As many estimates as are made at once are being made. Ask again in a moment.")
    return held


def _refuse(failure: Fail | None, mixed_in: Sequence[str] = ()) -> None:
    if failure is not None:
        message = named(failure.message, failure.param, mixed_in)
        raise InvalidRequest(message, param=failure.param, code=JobErrorCode(failure.code))
