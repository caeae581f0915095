"""Speaks the trainer's contract without a model, for tests of everything around it: `python -m trainer.fake RUN_DIR`.

The environment scripts it: FAKE_STEP_S seconds a step (0), FAKE_CRASH_AT_STEP (ends at once, without an event),
FAKE_EXIT_CODE of that crash (9), FAKE_NAN_AT_STEP (the run fails), FAKE_FULL_VALID_LOSSES (of the epochs, with commas
between them). A checkpoint to resume from is honoured.
"""

import os
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from trainer.contract.checkpoint import ADAPTER, publish_directory, seal, step_of
from trainer.contract.events import (
    BestCheckpoint,
    CheckpointSaved,
    Failed,
    Interrupted,
    Metrics,
    Progress,
    Started,
    Succeeded,
)
from trainer.contract.examples import format_of, read_file
from trainer.contract.formats.names import FileFormat
from trainer.contract.full_model import FULL_MODEL_REPORT, FullModelReport
from trainer.contract.full_model import WEIGHTS as MODEL_WEIGHTS
from trainer.contract.golden import GOLDEN_SAMPLES, GoldenSample, GoldenSamples, build_golden_samples
from trainer.contract.invalid import ExampleInvalid
from trainer.contract.report import CheckFailure, CheckReport, FileReport
from trainer.contract.run_directory import RunDirectory
from trainer.contract.selection import read_selection_summary
from trainer.contract.spec import CheckSpec, MethodName, TrainingSpec, WantedSelection
from trainer.early_stopping import compare, is_patience_over
from trainer.failures import FileUnusable, LossNotFinite, TrainerError, describe
from trainer.interruption import Interruption, StopRequested
from trainer.order import StepOrder
from trainer.reporter import Reporter
from trainer.selection import Pool, describe_selection, select
from trainer.selection_files import write_selection

_TOKENS_PER_EXAMPLE = 20


def main(arguments: Sequence[str]) -> int:
    directory = RunDirectory(Path(arguments[-1]))
    try:
        return _check(directory) if arguments[0] == "check" else _train(directory, directory.read_spec())
    except (OSError, ValidationError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - goes to trainer.log
        return 64


def _train(run: RunDirectory, spec: TrainingSpec) -> int:
    interruption = Interruption(run.stop)
    interruption.listen()
    step = (step_of(spec.resume_from) or 0) if spec.resume_from else 0
    with Reporter(run.events) as reporter, interruption.deferred():
        try:
            n_examples = _count(run, spec)
            order = StepOrder(n_examples, spec.method.batch_size, spec.method.n_epochs, spec.seed)
            reporter.report(Started, total_steps=order.total_steps, n_examples=n_examples, first_step=step + 1)
            best = _best_after(order, step)
            patience = spec.method.early_stopping_patience
            while step < order.total_steps and not is_patience_over(best, patience):
                interruption.check()
                step += 1
                best = _best_after(order, step)
                _do_step(run, spec, reporter, order, step)
            result = run.model if spec.lora is None else run.adapter
            staged = run.root / "staged-result"
            (_write_model if spec.lora is None else _write_adapter)(staged)
            (staged / GOLDEN_SAMPLES).write_text(_golden_samples(spec).model_dump_json())
            publish_directory(staged, result)
            reporter.report(
                Succeeded,
                step=step,
                trained_tokens=_tokens(order, step),
                adapter=result.name,
                best=None if patience is None else best,
                stopped_early=step < order.total_steps,
            )
            return 0
        except StopRequested:
            reporter.report(Interrupted, step=step)
            return 143
        except (TrainerError, ExampleInvalid) as error:
            failure = describe(error)
            reporter.report(Failed, code=failure.code, message=failure.message, param=failure.param)
            return 1


def _do_step(run: RunDirectory, spec: TrainingSpec, reporter: Reporter, order: StepOrder, step: int) -> None:
    time.sleep(float(os.environ.get("FAKE_STEP_S", "0")))
    if step == int(os.environ.get("FAKE_CRASH_AT_STEP", "0")):
        os._exit(int(os.environ.get("FAKE_EXIT_CODE", "9")))
    if step == int(os.environ.get("FAKE_NAN_AT_STEP", "0")):
        raise LossNotFinite("training loss", step)
    validated = {"valid_loss": 2.2 / step, "valid_mean_token_accuracy": 0.5} if _validates(run, spec) else {}
    if full_loss := _full_valid_loss(order, step):
        validated |= {"full_valid_loss": full_loss, "full_valid_mean_token_accuracy": 0.5}
    metrics = Metrics(train_loss=2.0 / step, train_mean_token_accuracy=1 - 1 / (step + 1), **validated)
    reporter.report(
        Progress,
        step=step,
        total_steps=order.total_steps,
        metrics=metrics,
        trained_tokens=_tokens(order, step),
        learning_rate=spec.method.learning_rate,
        grad_norm=1.0,
        seconds_per_step=0.01,
    )
    epoch, every = order.epoch_ended_by(step), spec.checkpoint_every_steps
    if epoch or (every and step % every == 0):
        staged = run.checkpoints / f".staged-{step}"
        if spec.lora is None:
            _write_model(staged / "trained")
        else:
            _write_adapter(staged / ADAPTER)
        seal(staged)
        publish_directory(staged, run.checkpoint(step))
        directory = str(run.checkpoint(step).relative_to(run.root))
        best = _best_after(order, step)
        is_best = best is not None and best.step == step
        reporter.report(CheckpointSaved, step=step, epoch=epoch, directory=directory, metrics=metrics, is_best=is_best)


def _full_valid_loss(order: StepOrder, step: int) -> float | None:
    """What the environment says of the epoch that this step ends."""
    losses = [float(loss) for loss in os.environ.get("FAKE_FULL_VALID_LOSSES", "").split(",") if loss]
    epoch = order.epoch_ended_by(step)
    return losses[epoch - 1] if epoch and epoch <= len(losses) else None


def _best_after(order: StepOrder, step: int) -> BestCheckpoint | None:
    best = None
    for done in range(1, step + 1):
        if loss := _full_valid_loss(order, done):
            best = compare(best, step=done, full_valid_loss=loss)
    return best


def _check(run: RunDirectory) -> int:
    spec = run.read_check_spec()
    try:
        validation = _report(run.validation_file, spec.method) if run.validation_file.exists() else None
        report = CheckReport(
            training=_report(run.training_file, spec.method), validation=validation, base_parameters=1_000_000
        )
        if spec.selection is not None:
            report = _choose(run, report, spec, spec.selection)
    except (ExampleInvalid, FileUnusable) as error:
        failure = describe(error)
        report = CheckReport(failure=CheckFailure(code=failure.code, message=failure.message, param=failure.param))
    run.write_report(report)
    return 0


def _choose(run: RunDirectory, report: CheckReport, spec: CheckSpec, wanted: WantedSelection) -> CheckReport:
    """Choose as the trainer does, where no two examples are alike."""
    paths = [run.training_file, *(run.mixed_in_file(place) for place in range(len(wanted.mix_in)))]
    pools, start = [], 0
    for path in paths:
        numbers = np.arange(_report(path, spec.method).n_examples, dtype=np.uint32)
        pools.append(Pool(numbers, (start + numbers).astype(np.uint32)))
        start += len(numbers)
    selection = select(pools[0], pools[1:], wanted)
    sha256 = write_selection(run.selection, selection)
    told = describe_selection(selection, wanted, n_usable=len(pools[0].numbers))
    file_format = format_of(run.training_file)
    validation = report.validation if told.holdout is None else _counted(file_format, told.n_held_out)
    training = _counted(file_format, len(selection.training))
    chosen = {"training": training, "validation": validation, "selection": told, "selection_sha256": sha256}
    return report.model_copy(update=chosen)


def _report(path: Path, method: MethodName) -> FileReport:
    return _counted(format_of(path), sum(1 for _ in read_file(path, method)))


def _counted(file_format: FileFormat, n_examples: int) -> FileReport:
    return FileReport(
        format=file_format,
        n_examples=n_examples,
        n_tokens=n_examples * _TOKENS_PER_EXAMPLE,
        n_trained_tokens=n_examples * _TOKENS_PER_EXAMPLE // 4,
        longest_tokens=_TOKENS_PER_EXAMPLE,
        truncated_lines=(),
        dropped_lines=(),
    )


def _validates(run: RunDirectory, spec: TrainingSpec) -> bool:
    return run.validation_file.exists() or (spec.selection is not None and spec.selection.holdout is not None)


def _count(run: RunDirectory, spec: TrainingSpec) -> int:
    if spec.selection is None:
        return sum(1 for _ in read_file(run.training_file, spec.method.type))
    summary = read_selection_summary(run.selection)
    if summary is None:
        raise TrainerError("What was chosen of the job's examples is damaged or lost. Create the job again.")
    return summary.n_training


def _tokens(order: StepOrder, step: int) -> int:
    return sum(len(order.examples_of(done)) for done in range(1, step + 1)) * _TOKENS_PER_EXAMPLE


def _golden_samples(spec: TrainingSpec) -> GoldenSamples:
    """Of an adapter that moves a base by two nats a token, whatever base that is."""
    sample = GoldenSample(
        prompt_token_ids=(1, 2), sampled_token_ids=(3, 4), adapter_logprobs=(-1.0, -1.0), base_logprobs=(-3.0, -3.0)
    )
    quantization = None if spec.lora is None else spec.serving.quantization
    return build_golden_samples([sample], dtype="float32", quantization=quantization)


def _write_adapter(directory: Path) -> None:
    """Two files with the right names; the weights are a valid safetensors file of no tensors."""
    directory.mkdir(parents=True)
    (directory / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "base_model_name_or_path": null}\n'
    )
    (directory / "adapter_model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")


def _write_model(directory: Path) -> None:
    """Likewise of a whole model."""
    directory.mkdir(parents=True)
    report = FullModelReport(
        dtype="bfloat16", parameters=1_000_000, n_probe_tokens=256, logit_error=0.1, same_choice=1.0, logprob_gap=0.001
    )
    (directory / FULL_MODEL_REPORT).write_text(report.model_dump_json())
    (directory / "config.json").write_text('{"model_type": "fake"}\n')
    (directory / MODEL_WEIGHTS).write_bytes(struct.pack("<Q", 2) + b"{}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
