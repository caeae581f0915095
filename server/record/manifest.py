"""`manifest.json` of a published model: what it is, what it was made of and how. No path, no training text."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue

from inference.adapter_files import WEIGHTS
from server.record.base_identity import BaseIdentity
from server.record.hashes import sha256
from trainer.contract.reproduction import Reproduction

MANIFEST = "manifest.json"
MANIFEST_VERSION: Literal[1] = 1

T = TypeVar("T")

_MOST_RECORDS = 100  # of a list in a report
_LOSSES = ("full_valid_loss", "valid_loss", "train_loss")  # the best step is that of the first that was measured


class Record(BaseModel):
    """Immutable, of exactly these types, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())


class Written(Record):
    """A whole manifest, of whichever kind."""

    def dump(self) -> bytes:
        return self.model_dump_json(indent=2).encode() + b"\n"


class BaseModelRecord(Record):
    name: str  # the base model's own name on the server
    repository: str | None  # on the Hugging Face Hub; None: a directory of the server
    revision: str | None  # a commit, or `sha256:` over weights, configuration and tokenizer; None: not known
    chat_template_sha256: str | None  # of the operator's template, where one took the place of the base's own
    parameters: int | None
    license: str  # of the Hub's words, or "unknown"
    license_name: str | None = None
    license_link: str | None = None


def record_base(name: str, base: BaseIdentity, parameters: int | None) -> BaseModelRecord:
    return BaseModelRecord(
        name=name,
        repository=base.repository,
        revision=base.revision,
        chat_template_sha256=base.chat_template_sha256,
        parameters=parameters,
        license=base.licence.id,
        license_name=base.licence.name,
        license_link=base.licence.link,
    )


class DataRecord(Record):
    """A data file as it was trained on or evaluated. None: not counted."""

    sha256: str
    bytes: int
    n_examples: int | None = None
    n_tokens: int | None = None  # of those examples, after cutting
    n_trained_tokens: int | None = None  # inside the loss mask, in one epoch
    longest_tokens: int | None = None  # before cutting
    n_truncated: int | None = None  # examples cut at the context's end
    n_dropped: int | None = None  # examples left out: nothing of them could be trained on


class BestStep(Record):
    by: str  # the loss that was compared
    step: int
    value: float


class MetricsRecord(Record):
    """Supervised: losses in nats a token, accuracies as shares of tokens. Of preferences: the method's loss, shares of
    choices. Under OpenAI's names, and TRL's where OpenAI has none."""

    last: dict[str, float]  # of the adapter's own step
    best: BestStep | None  # of the run up to that step


class DriftRecord(Record):
    """How far the base that serves is from the one that was trained on, in nats a token of the samples."""

    quantization: str  # of the base that was trained on; "none": it was as its files are
    mean: float  # with the adapter on both
    largest: float  # of one token
    of_base: float  # the mean without the adapter


class FileRecord(Record):
    bytes: int
    sha256: str


class OwnWeightsRecord(Record):
    """How a model all of whose weights were trained was saved: `FullModelReport` says each."""

    dtype: str
    parameters: int
    n_probe_tokens: int
    logit_error: float
    same_choice: float
    logprob_gap: float


class Manifest(Written):
    version: Literal[1] = MANIFEST_VERSION
    name: str  # the model's
    created_at: int  # unix seconds
    job_id: str
    is_checkpoint: bool  # False: the job's result
    step: int
    total_steps: int | None
    base_model: BaseModelRecord
    parent_model: str | None  # the fine-tuned model whose weights the training went on from
    own_weights: OwnWeightsRecord | None = None  # None: it is an adapter
    training_data: DataRecord | None
    validation_data: DataRecord | None  # of a file, or of what was held out of the training file
    mixed_in_data: tuple[DataRecord, ...] = ()  # further files that were trained on; counted in the training data, too
    requested_hyperparameters: dict[str, JsonValue]  # as the client asked, "auto" among them
    settings: dict[str, JsonValue]  # everything the run was told, as numbers
    seed: int
    threads: int | None  # CPU threads; the same number is needed to repeat the run exactly
    trained_tokens: int | None  # processed up to the step, padding excluded
    packages: dict[str, str | None]  # None: not installed beside the server
    metrics: MetricsRecord
    served_in: str | None = None  # how the base is quantised that it was proven on and is served on; None: it is not
    drift: DriftRecord | None = None  # None: it is served on what it was trained on, or it was not measured
    data_gate: dict[str, JsonValue] | None  # what was found in the data, in numbers
    estimate: dict[str, JsonValue] | None
    measured: dict[str, JsonValue] | None
    reproduction: Reproduction | None = None  # how well it does what was trained; None: not compared
    known_limits: tuple[str, ...]
    files: dict[str, FileRecord]  # every file of the directory but this one


def read_manifest(directory: Path) -> Manifest | None:
    """None for an adapter that an older version published without one.

    Raises:
        ValueError: it is of another version, or damaged.
    """
    return read_as(directory, Manifest.model_validate_json)


def read_as(directory: Path, parse: Callable[[bytes], T]) -> T | None:
    """The same of any kind of manifest."""
    try:
        data = (directory / MANIFEST).read_bytes()
    except FileNotFoundError:
        return None
    return parse(data)


def find_hash(directory: Path) -> str | None:
    """The hash of an adapter's weights: as they were published, by its manifest, or else as they are; None if gone."""
    try:
        manifest = read_manifest(directory)
        return sha256(directory / WEIGHTS) if manifest is None else manifest.files[WEIGHTS].sha256
    except (OSError, ValueError, KeyError):
        return None


def list_files(directory: Path) -> dict[str, FileRecord]:
    """Size and hash of every file of an adapter's directory but the manifest."""
    paths = sorted(path for path in directory.iterdir() if path.is_file() and path.name != MANIFEST)
    return {path.name: FileRecord(bytes=path.stat().st_size, sha256=sha256(path)) for path in paths}


def find_damaged(directory: Path, files: Mapping[str, FileRecord]) -> list[str]:
    """The names of files that are not there, or not what the manifest says."""
    present = list_files(directory)
    return [name for name, file in files.items() if present.get(name) != file]


def summarise_metrics(steps: Sequence[Mapping[str, Any]]) -> MetricsRecord:
    """The last step's metrics and the best step's, of a run's in the order of their steps."""
    last = steps[-1] if steps else {}
    last = {name: float(value) for name, value in last.items() if name not in ("step", "total_steps")}
    by = next((loss for loss in _LOSSES if any(loss in step for step in steps)), None)
    if by is None:
        return MetricsRecord(last=last, best=None)
    best = min((step for step in steps if by in step), key=lambda step: float(step[by]))
    return MetricsRecord(last=last, best=BestStep(by=by, step=int(best["step"]), value=float(best[by])))


def settings_of(spec: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Everything a run was told, without what says who it was for and where its files lay."""
    left_out = {"version", "job_id", "attempt", "base_model", "seed", "threads", "start_from", "resume_from"}
    return {name: value for name, value in _without_paths(spec).items() if name not in left_out}


def condense(report: Mapping[str, Any] | None) -> dict[str, JsonValue] | None:
    """A report in numbers: of a list of records, each condensed likewise; of any other list, only how long it is."""
    return None if report is None else {name: _condensed(value) for name, value in _without_paths(report).items()}


def _condensed(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {name: _condensed(item) for name, item in value.items()}
    if isinstance(value, list):
        is_of_records = bool(value) and len(value) <= _MOST_RECORDS and all(isinstance(item, dict) for item in value)
        return [_condensed(item) for item in value] if is_of_records else len(value)
    return value


def _without_paths(values: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Nor the ids of files, which mean something on this server alone."""
    return {name: _clean(value) for name, value in values.items() if not _is_path(value) and name != "file_id"}


def _clean(value: Any) -> JsonValue:
    if isinstance(value, dict):
        return _without_paths(value)
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value if not _is_path(item)]
    cleaned: JsonValue = value
    return cleaned


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and Path(value).is_absolute()
