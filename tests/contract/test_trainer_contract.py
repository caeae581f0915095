"""What the real trainer and its fake both promise to whoever starts them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from trainer_runs import ROOT, checkpoints_saved, events, finish, make_base, make_run, make_spec, progress, start

from trainer.contract.checkpoint import find_newest_checkpoint, is_complete
from trainer.contract.events import BestCheckpoint, Failed, FailureCode, Interrupted, Started, Succeeded, TrainerEvent
from trainer.contract.examine import ExamineOutcome, ExamineSpec
from trainer.contract.full_model import FULL_MODEL_REPORT, FullModelReport
from trainer.contract.golden import GOLDEN_SAMPLES, GoldenSamples
from trainer.contract.merge import MergeOutcome, MergeSpec
from trainer.contract.report import CheckReport
from trainer.contract.reproduction import REPRODUCTION
from trainer.contract.run_directory import RunDirectory
from trainer.contract.screen import ScreenOutcome, ScreenSpec
from trainer.contract.selection import SelectionSummary, read_selection_summary
from trainer.contract.spec import CheckSpec, MixIn, TrainingSpec, WantedSelection

IMPLEMENTATIONS = ["trainer.fake", pytest.param("trainer", marks=pytest.mark.trainer)]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", params=IMPLEMENTATIONS)
def module(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def base(module: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny") / "base"
    return make_base(directory) if module == "trainer" else directory


@pytest.fixture(scope="module")
def done(module: str, base: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = make_run(tmp_path_factory.mktemp("done") / "run", make_spec(base, method={"n_epochs": 2}), n_validation=3)
    assert finish(run, module=module) == 0, run.log.read_text()
    return run


def check(run: RunDirectory, module: str) -> CheckReport:
    subprocess.run([sys.executable, "-m", module, "check", str(run.root)], cwd=ROOT, check=True, timeout=60)
    report = run.read_report()
    assert report is not None
    return report


def test_events_are_dense_begin_with_started_and_end_with_the_one_terminal_event(done: RunDirectory) -> None:
    found = events(done)
    assert [event.seq for event in found] == list(range(len(found)))
    assert isinstance(found[0], Started)
    assert [event for event in found if isinstance(event, Succeeded | Failed | Interrupted)] == [found[-1]]
    assert isinstance(found[-1], Succeeded)


def test_every_step_is_reported_once_and_tokens_only_grow(done: RunDirectory) -> None:
    steps = progress(done)
    started, succeeded = events(done)[0], events(done)[-1]
    assert isinstance(started, Started)
    assert isinstance(succeeded, Succeeded)
    assert [event.step for event in steps] == list(range(started.first_step, started.total_steps + 1))
    tokens = [event.trained_tokens for event in steps]
    assert tokens == sorted(set(tokens))
    assert (succeeded.step, succeeded.trained_tokens) == (steps[-1].step, tokens[-1])


def test_a_checkpoint_is_reported_after_its_step_and_is_complete(done: RunDirectory) -> None:
    saved = checkpoints_saved(done)
    assert [event.epoch for event in saved if event.epoch] == [1, 2]
    for event in saved:
        before = events(done)[event.seq - 1]
        assert before in progress(done)
        assert before.step == event.step  # type: ignore[union-attr]
        assert event.directory == f"checkpoints/step_{event.step:06d}"
    newest = find_newest_checkpoint(done.checkpoints)
    assert newest == done.checkpoint(saved[-1].step)
    for checkpoint in done.checkpoints.iterdir():
        assert is_complete(checkpoint)
        names = {path.name for path in (checkpoint / "adapter").iterdir()}
        assert {"adapter_config.json", "adapter_model.safetensors"} == names - {GOLDEN_SAMPLES, REPRODUCTION}


def test_the_adapter_holds_three_files_and_nothing_half_written_is_left(done: RunDirectory) -> None:
    names = {path.name for path in done.adapter.iterdir()}
    measured = {REPRODUCTION}  # the fake reloads nothing
    assert names - measured == {"adapter_config.json", "adapter_model.safetensors", GOLDEN_SAMPLES}
    assert GoldenSamples.model_validate_json((done.adapter / GOLDEN_SAMPLES).read_bytes()).samples
    expected = {
        "spec.json",
        "check.json",
        "training.jsonl",
        "validation.jsonl",
        "events.jsonl",
        "checkpoints",
        "adapter",
    }
    optional = {"report.json", "trainer.log", "training.tokens", "validation.tokens"}
    assert {path.name for path in done.root.iterdir()} - optional == expected


def test_the_spec_is_not_changed(done: RunDirectory, base: Path) -> None:
    assert done.read_spec() == make_spec(base, method={"n_epochs": 2})


def test_an_unknown_version_is_refused_without_an_event(done: RunDirectory, module: str, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    spec = json.loads(done.spec.read_text()) | {"version": 2}
    run.spec.write_text(json.dumps(spec))
    assert finish(run, module=module) == 64
    assert not run.events.exists()


def test_a_stopped_run_ends_with_interrupted_and_143(module: str, base: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_spec(base, method={"n_epochs": 500}))
    process = start(run, module=module, FAKE_STEP_S="0.02")
    while not progress(run):
        assert process.poll() is None
    process.terminate()
    assert process.wait(timeout=10) == 143
    last = events(run)[-1]
    assert isinstance(last, Interrupted)
    assert last.step == progress(run)[-1].step


def test_a_stop_file_that_is_there_before_ends_the_run(module: str, base: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_spec(base))
    run.stop.touch()
    assert finish(run, module=module) == 143
    last = events(run)[-1]
    assert isinstance(last, Interrupted)
    assert last.step == 0


def test_a_resumed_run_begins_after_the_checkpoint(done: RunDirectory, module: str, base: Path, tmp_path: Path) -> None:
    checkpoint = done.checkpoint(7)
    spec = make_spec(base, attempt=2, method={"n_epochs": 2}, resume_from=checkpoint)
    run = make_run(tmp_path / "run", spec, n_validation=3)
    assert finish(run, module=module) == 0
    started = events(run)[0]
    assert isinstance(started, Started)
    assert started.first_step == 8
    assert [event.step for event in progress(run)] == list(range(8, 15))
    assert progress(run)[-1].trained_tokens == progress(done)[-1].trained_tokens


def test_a_run_trains_on_what_the_check_has_chosen(module: str, base: Path, tmp_path: Path) -> None:
    mixed_in = (MixIn(file_id="file-1", ratio=0.5),)
    wanted = WantedSelection(seed=7, pilot=20, holdout=0.2, mix_in=mixed_in)
    spec = make_spec(base, selection=wanted, method={"n_epochs": 1})
    run = make_run(tmp_path / "run", spec)
    shutil.copyfile(run.training_file, run.mixed_in_file(0))
    run.write_check_spec(run.read_check_spec().model_copy(update={"selection": wanted}))
    report = check(run, module)
    assert report.selection is not None
    assert report.training is not None
    assert report.validation is not None
    n_training, n_validation = report.training.n_examples, report.validation.n_examples
    assert report.selection.n_own + n_validation == 20
    assert n_training == report.selection.n_own + report.selection.mixed_in[0].n_examples
    assert read_selection_summary(run.selection) == SelectionSummary(n_training=n_training, n_validation=n_validation)
    assert finish(run, module=module) == 0, run.log.read_text()
    started = events(run)[0]
    assert isinstance(started, Started)
    assert started.n_examples == n_training
    assert progress(run)[-1].metrics.valid_loss is not None


def test_a_bad_training_file_fails_the_run_and_the_check(module: str, base: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_spec(base))
    run.training_file.write_text('{"messages": [{"role": "user", "content": "zebra"}]}\n')
    assert finish(run, module=module) == 1
    last = events(run)[-1]
    assert isinstance(last, Failed)
    report = check(run, module)
    assert report.failure is not None
    for failure in (last, report.failure):
        assert failure.code == FailureCode.INVALID_TRAINING_FILE
        assert failure.param == "training_file"
        assert "At least one message must be from the assistant" in failure.message
        assert "zebra" not in failure.message


def test_the_check_reports_both_files_and_the_size_of_the_base(done: RunDirectory, module: str) -> None:
    report = check(done, module)
    assert report.failure is None
    assert report.training is not None
    assert report.validation is not None
    assert (report.training.n_examples, report.validation.n_examples) == (26, 3)
    assert 0 < report.training.n_trained_tokens < report.training.n_tokens
    assert report.base_parameters
    (trained,) = {event.trained_tokens for event in progress(done)[-1:]}
    assert trained == 2 * report.training.n_tokens  # two epochs


def test_the_check_says_that_the_base_model_is_missing_without_its_path(tmp_path: Path) -> None:
    """The real one alone: its fake needs no base model."""
    run = make_run(tmp_path / "run", make_spec(tmp_path / "no such base"))
    report = check(run, "trainer")
    assert report.failure is not None
    assert report.failure.code == FailureCode.BASE_MODEL_UNAVAILABLE
    assert str(tmp_path) not in report.failure.message


def test_the_fake_crashes_and_fails_when_told_to(tmp_path: Path) -> None:
    crashed = make_run(tmp_path / "crashed", make_spec(tmp_path))
    assert finish(crashed, module="trainer.fake", FAKE_CRASH_AT_STEP="3", FAKE_EXIT_CODE="137") == 137
    assert [event.step for event in progress(crashed)] == [1, 2]
    failed = make_run(tmp_path / "failed", make_spec(tmp_path))
    assert finish(failed, module="trainer.fake", FAKE_NAN_AT_STEP="3") == 1
    last = events(failed)[-1]
    assert isinstance(last, Failed)
    assert last.code == FailureCode.LOSS_NOT_FINITE
    shutil.rmtree(failed.root)


def test_the_fake_stops_early_when_told_to(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_spec(tmp_path, method={"n_epochs": 9, "early_stopping_patience": 2}))
    assert finish(run, module="trainer.fake", FAKE_FULL_VALID_LOSSES="2,1.5,1.7,1.6,1") == 0
    last = events(run)[-1]
    assert isinstance(last, Succeeded)
    assert (last.step, last.stopped_early) == (4 * 7, True)
    assert last.best == BestCheckpoint(step=2 * 7, full_valid_loss=1.5, evaluations_since=2)
    assert [event.step for event in checkpoints_saved(run) if event.is_best] == [7, 14]


def test_the_fake_leaves_a_whole_model_where_all_weights_are_trained(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_spec(tmp_path, lora=None))
    assert finish(run, module="trainer.fake") == 0
    last = events(run)[-1]
    assert isinstance(last, Succeeded)
    assert last.adapter == "model"
    FullModelReport.model_validate_json((run.model / FULL_MODEL_REPORT).read_bytes())
    assert not run.adapter.exists()


def test_a_change_of_the_contract_shows_in_review() -> None:
    """After a wanted change, write the new text over the file; the difference is what reviewers read."""
    schemas = {
        "TrainingSpec": TrainingSpec.model_json_schema(),
        "TrainerEvent": TypeAdapter[TrainerEvent](TrainerEvent).json_schema(),
        "CheckSpec": CheckSpec.model_json_schema(),
        "GoldenSamples": GoldenSamples.model_json_schema(),
        "CheckReport": CheckReport.model_json_schema(),
        "MergeSpec": MergeSpec.model_json_schema(),
        "MergeOutcome": MergeOutcome.model_json_schema(),
        "ExamineSpec": ExamineSpec.model_json_schema(),
        "ScreenSpec": ScreenSpec.model_json_schema(),
        "ScreenOutcome": ScreenOutcome.model_json_schema(),
        "ExamineOutcome": ExamineOutcome.model_json_schema(),
        "FullModelReport": FullModelReport.model_json_schema(),
    }
    text = json.dumps(schemas, indent=1, sort_keys=True) + "\n"
    assert text == (Path(__file__).parent / "trainer_contract.json").read_text()
