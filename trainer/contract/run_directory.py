"""The names inside a run directory, and how its files are written and read.

    runs/<job_id>/<attempt>/
      spec.json          by the server, before launch; read once, never changed
      training.jsonl     staged by the server
      validation.jsonl   optional, likewise
      mix_in_0.jsonl     optional, likewise, up to five
      selection/         if the spec has one: the examples that were chosen of the files, by the check
      *.tokens/          what a data file tokenises to (tokens.py): staged by the server, or made by the trainer
      reference/         of a method that has one: what the model gave to the answers before the first step
      parent/            optional, likewise: the adapter, or the whole model, whose weights the training goes on from
      events.jsonl       appended by the trainer only
      checkpoints/step_000100/   complete when renamed into place
      adapter/           the result, with its golden samples; complete when renamed into place
      model/             likewise, where all weights were trained: a model of its own, and how well it was saved
      trainer.log        stdout and stderr, for humans
      stop               its existence asks the run to stop, like SIGTERM

`python -m trainer check` works in such a directory too: `check.json` in; `report.json`, `*.tokens/`, `selection/` out.
`*.offered/<key>/` are tokens of the same file from earlier checks, which it takes if they are what it would make.
So does `python -m trainer merge`: `merge.json` in, `merge_report.json` and the model in `merged/` out.
And `python -m trainer examine`: `examine.json` in, `examined.json` and `golden_samples.json` out.
And `python -m trainer screen`: `screen.json` and `training.jsonl` in, `screen_report.json` and `screened.jsonl` out.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from trainer.contract.events import TrainerEvent, parse_event
from trainer.contract.examine import ExamineOutcome, ExamineSpec
from trainer.contract.merge import MergeOutcome, MergeSpec
from trainer.contract.report import MIXED_IN, CheckReport, FileKind
from trainer.contract.screen import ScreenOutcome, ScreenSpec
from trainer.contract.spec import CheckSpec, Frozen, TrainingSpec


class RunDirectory:
    """Paths of one run directory, and the atomic ways to write and read what is in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spec = root / "spec.json"
        self.check_spec = root / "check.json"
        self.report = root / "report.json"
        self.merge_spec = root / "merge.json"
        self.merge_report = root / "merge_report.json"
        self.merged = root / "merged"
        self.examine_spec = root / "examine.json"
        self.examined = root / "examined.json"
        self.screen_spec = root / "screen.json"
        self.screen_report = root / "screen_report.json"
        self.screened = root / "screened.jsonl"
        self.training_file = root / "training.jsonl"
        self.validation_file = root / "validation.jsonl"
        self.selection = root / "selection"
        self.reference = root / "reference"
        self.parent = root / "parent"
        self.events = root / "events.jsonl"
        self.checkpoints = root / "checkpoints"
        self.adapter = root / "adapter"
        self.model = root / "model"
        self.log = root / "trainer.log"
        self.stop = root / "stop"

    def mixed_in_file(self, place: int) -> Path:
        return self.root / f"mix_in_{place}.jsonl"

    def kind_of(self, data_file: Path) -> FileKind:
        if data_file == self.validation_file:
            return "validation"
        mixed_in = (kind for place, kind in enumerate(MIXED_IN) if data_file == self.mixed_in_file(place))
        return next(mixed_in, "training")

    def tokens(self, data_file: Path) -> Path:
        return data_file.with_suffix(".tokens")

    def offered_tokens(self, data_file: Path) -> Path:
        return data_file.with_suffix(".offered")

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step_{step:06d}"

    def write_spec(self, spec: TrainingSpec) -> None:
        write_atomically(self.spec, _dump(spec))

    def read_spec(self) -> TrainingSpec:
        return TrainingSpec.model_validate_json(self.spec.read_bytes())

    def write_check_spec(self, spec: CheckSpec) -> None:
        write_atomically(self.check_spec, _dump(spec))

    def read_check_spec(self) -> CheckSpec:
        return CheckSpec.model_validate_json(self.check_spec.read_bytes())

    def write_report(self, report: CheckReport) -> None:
        write_atomically(self.report, _dump(report))

    def read_report(self) -> CheckReport | None:
        """The report, or None if there is none (yet)."""
        try:
            return CheckReport.model_validate_json(self.report.read_bytes())
        except FileNotFoundError:
            return None

    def write_merge_spec(self, spec: MergeSpec) -> None:
        write_atomically(self.merge_spec, _dump(spec))

    def read_merge_spec(self) -> MergeSpec:
        return MergeSpec.model_validate_json(self.merge_spec.read_bytes())

    def write_merge_outcome(self, outcome: MergeOutcome) -> None:
        write_atomically(self.merge_report, _dump(outcome))

    def read_merge_outcome(self) -> MergeOutcome | None:
        """None if there is none (yet)."""
        try:
            return MergeOutcome.model_validate_json(self.merge_report.read_bytes())
        except FileNotFoundError:
            return None

    def write_examine_spec(self, spec: ExamineSpec) -> None:
        write_atomically(self.examine_spec, _dump(spec))

    def read_examine_spec(self) -> ExamineSpec:
        return ExamineSpec.model_validate_json(self.examine_spec.read_bytes())

    def write_examine_outcome(self, outcome: ExamineOutcome) -> None:
        write_atomically(self.examined, _dump(outcome))

    def read_examine_outcome(self) -> ExamineOutcome | None:
        """None if there is none (yet)."""
        try:
            return ExamineOutcome.model_validate_json(self.examined.read_bytes())
        except FileNotFoundError:
            return None

    def write_screen_spec(self, spec: ScreenSpec) -> None:
        write_atomically(self.screen_spec, _dump(spec))

    def read_screen_spec(self) -> ScreenSpec:
        return ScreenSpec.model_validate_json(self.screen_spec.read_bytes())

    def write_screen_outcome(self, outcome: ScreenOutcome) -> None:
        write_atomically(self.screen_report, _dump(outcome))

    def read_screen_outcome(self) -> ScreenOutcome | None:
        """None if there is none (yet)."""
        try:
            return ScreenOutcome.model_validate_json(self.screen_report.read_bytes())
        except FileNotFoundError:
            return None


@dataclass(frozen=True)
class EventsRead:
    events: list[TrainerEvent]
    offset: int  # where the next read goes on; the start of a torn last line


def read_events(path: Path, offset: int = 0) -> EventsRead:
    """Read the whole lines of an event file from `offset` on; a missing file has none."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return EventsRead([], offset)
    end = data.rfind(b"\n") + 1
    return EventsRead([parse_event(line) for line in data[:end].splitlines()], offset + end)


def write_atomically(path: Path, data: bytes) -> None:
    """Write so that a reader, or a power cut, sees the whole file or none."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _dump(record: Frozen) -> bytes:
    return record.model_dump_json(indent=2).encode() + b"\n"
