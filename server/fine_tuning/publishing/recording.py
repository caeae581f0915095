"""Beside an adapter that is being published: its manifest, its model card with the loss curve, its base's licence."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from server.db.tables import FileRow, JobRow
from server.fine_tuning.leases import JobFiles, find_files, find_report, metrics_of
from server.fine_tuning.lifecycle import metrics_data
from server.fine_tuning.worker_services import WorkerServices
from server.models.names import FineTunedModelName
from server.record.base_identity import BaseIdentity, identify
from server.record.hashes import FileHashes, sha256
from server.record.known_limits import Circumstances, known_limits, of_the_reproduction
from server.record.loss_curve import LOSS_CURVE, draw_loss_curve
from server.record.manifest import (
    MANIFEST,
    BaseModelRecord,
    DataRecord,
    DriftRecord,
    Manifest,
    OwnWeightsRecord,
    condense,
    list_files,
    settings_of,
    summarise_metrics,
)
from server.record.model_card import MODEL_CARD, render_model_card
from trainer.contract.events import Progress
from trainer.contract.golden import GOLDEN_SAMPLES, GoldenSamples
from trainer.contract.reproduction import REPRODUCTION, Reproduction
from trainer.contract.run_directory import RunDirectory, read_events

_PACKAGES = ("tunesmith", "torch", "transformers", "peft", "trl")


@dataclass(frozen=True)
class _History:
    """What the run reported up to a step."""

    steps: list[dict[str, Any]]  # their metrics, in order; empty if nothing was reported
    trained_tokens: int | None


def add_record(
    services: WorkerServices,
    job: JobRow,
    staged: Path,
    *,
    name: FineTunedModelName,
    step: int,
    own_weights: OwnWeightsRecord | None = None,
) -> None:
    """Complete the directory of an adapter or a full model of the job, of this step; the manifest comes last."""
    base = _identify_base(services, job)
    for path in base.legal_files:
        shutil.copyfile(path, staged / path.name)
    history = _history(services, job, step)
    (staged / LOSS_CURVE).write_bytes(draw_loss_curve(history.steps))
    reproduction = _find_reproduction(staged)
    manifest = _describe(services, job, base, history, name=name, step=step, drift=_find_drift(services, job, staged))
    manifest = manifest.model_copy(
        update={
            "reproduction": reproduction,
            "own_weights": own_weights,
            "known_limits": (*of_the_reproduction(reproduction), *manifest.known_limits),
        }
    )
    card = render_model_card(manifest, [path.name for path in base.legal_files])
    (staged / MODEL_CARD).write_text(card, encoding="utf-8")
    (staged / MANIFEST).write_bytes(manifest.model_copy(update={"files": list_files(staged)}).dump())


def _describe(
    services: WorkerServices,
    job: JobRow,
    base: BaseIdentity,
    history: _History,
    *,
    name: FineTunedModelName,
    step: int,
    drift: DriftRecord | None,
) -> Manifest:
    """Everything but the files of the directory."""
    checked, spec = services.check_directory(job), _read(services.run_directory(job).spec)
    report, found = _read(checked.report), find_report(services.database, job)
    files = find_files(services.database, job)
    training = _describe_data(checked.training_file, files.training, report.get("training"))
    validation = _describe_validation(job, checked, files, report.get("validation"))
    drawn = (report.get("selection") or {}).get("mixed_in") or [None] * len(files.mixed_in)
    mixed_in = [
        _describe_data(checked.mixed_in_file(place), row, counts)
        for place, (row, counts) in enumerate(zip(files.mixed_in, drawn, strict=True))
    ]
    base_record = BaseModelRecord(
        name=job.base_model,
        repository=base.repository,
        revision=base.revision,
        chat_template_sha256=base.chat_template_sha256,
        parameters=report.get("base_parameters"),
        license=base.licence.id,
        license_name=base.licence.name,
        license_link=base.licence.link,
    )
    settings, served_in = settings_of(spec), _served_in(spec)
    data_gate = None if found is None else condense(found.data_gate)
    circumstances = Circumstances(
        base_model=base_record,
        training=training,
        validation=validation,
        settings=settings,
        step=step,
        total_steps=job.total_steps,
        is_checkpoint=name.step is not None,
        data_gate=data_gate,
        drift=drift,
        served_in=served_in,
    )
    return Manifest(
        name=str(name),
        created_at=int(services.clock()),
        job_id=job.id,
        is_checkpoint=circumstances.is_checkpoint,
        step=step,
        total_steps=job.total_steps,
        base_model=base_record,
        parent_model=job.parent_model,
        training_data=training,
        validation_data=validation,
        mixed_in_data=tuple(data for data in mixed_in if data is not None),
        requested_hyperparameters=job.requested_hyperparameters,
        settings=settings,
        seed=job.seed,
        threads=spec.get("threads"),
        trained_tokens=history.trained_tokens,
        packages={package: _version(package) for package in _PACKAGES},
        metrics=summarise_metrics(history.steps),
        served_in=served_in,
        drift=drift,
        data_gate=data_gate,
        estimate=None if found is None else condense(found.estimate),
        measured=None if found is None else condense(found.measured),
        known_limits=known_limits(circumstances),
        files={},
    )


def _find_drift(services: WorkerServices, job: JobRow, staged: Path) -> DriftRecord | None:
    """From the golden samples; a checkpoint has none."""
    quantization = _read(services.run_directory(job).spec).get("memory", {}).get("quantization") or "none"
    try:
        drift = GoldenSamples.model_validate_json((staged / GOLDEN_SAMPLES).read_bytes()).drift
    except (FileNotFoundError, ValidationError):
        return None  # of damaged ones the engine says that they are
    if drift is None:
        return None
    return DriftRecord(quantization=quantization, mean=drift.mean, largest=drift.largest, of_base=drift.of_base)


def _served_in(spec: Mapping[str, Any]) -> str | None:
    """A full model, whose weights are its own, is served as they are."""
    found = None if spec.get("lora") is None else (spec.get("serving") or {}).get("quantization")
    return None if found is None else str(found)


def _identify_base(services: WorkerServices, job: JobRow) -> BaseIdentity:
    """What is known of the base; nothing, where the operator has taken it or its files away since."""
    entry = services.base_of(job)
    if entry is None:
        return BaseIdentity(None, None)
    try:
        return identify(entry, FileHashes(services.settings.hashes))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return BaseIdentity(None, None)


def _history(services: WorkerServices, job: JobRow, step: int) -> _History:
    """From the events that clients have, and from those of this attempt that are not applied yet."""
    steps: dict[int, dict[str, Any]] = {int(data["step"]): data for data in metrics_of(services.database, job)}  # type: ignore[call-overload]  # typed as object
    trained_tokens = job.trained_tokens
    for event in read_events(services.run_directory(job).events).events:
        if isinstance(event, Progress) and event.step <= step:
            steps.setdefault(event.step, {"step": event.step, **metrics_data(event.metrics)})
            trained_tokens = event.trained_tokens
    return _History([steps[number] for number in sorted(steps) if number <= step], trained_tokens)


def _describe_validation(
    job: JobRow, checked: RunDirectory, files: JobFiles, report: Mapping[str, Any] | None
) -> DataRecord | None:
    """Of the validation file, or, under the training file's hash, of what was held out of that."""
    if job.validation_file is not None:
        return _describe_data(checked.validation_file, files.validation, report)
    return None if report is None else _describe_data(checked.training_file, files.training, report)


def _describe_data(staged: Path, row: FileRow | None, report: Mapping[str, Any] | None) -> DataRecord | None:
    """The file as it was read, if it is there still; else as it was uploaded."""
    if staged.is_file():
        digest, size = sha256(staged), staged.stat().st_size
    elif row is not None:
        digest, size = row.sha256, row.bytes
    else:
        return None
    counts = report or {}
    names = ("n_examples", "n_tokens", "n_trained_tokens", "longest_tokens")
    lines = {"n_truncated": "truncated_lines", "n_dropped": "dropped_lines"}
    return DataRecord(
        sha256=digest,
        bytes=size,
        **{name: counts.get(name) for name in names},
        **{name: len(counts[of]) if of in counts else None for name, of in lines.items()},
    )


def _find_reproduction(staged: Path) -> Reproduction | None:
    """None for one that was not compared with the trained model."""
    try:
        return Reproduction.model_validate_json((staged / REPRODUCTION).read_bytes())
    except FileNotFoundError:
        return None


def _read(path: Path) -> dict[str, Any]:
    """A record of the contract as plain JSON: one of another version is recorded as it is."""
    try:
        return dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return {}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
