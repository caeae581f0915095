"""`python -m trainer [check | examine | merge | screen] RUN_DIR`: parse the spec, and only then import what is slow.

Exit status: 0 done; 1 failed, and the last event says why; 64 the spec or the run directory is not for this version;
143 stopped when asked to.
"""

import sys
import traceback
from pathlib import Path

from pydantic import ValidationError

from trainer import environment
from trainer.contract.checkpoint import step_of
from trainer.contract.events import Failed, Interrupted
from trainer.contract.examine import ExamineOutcome
from trainer.contract.merge import MergeOutcome
from trainer.contract.report import CheckFailure, CheckReport
from trainer.contract.run_directory import RunDirectory
from trainer.contract.screen import ScreenOutcome
from trainer.contract.spec import TrainingSpec
from trainer.failures import AdapterUnfit, Failure, describe
from trainer.interruption import Interruption, StopRequested
from trainer.reporter import Reporter

FAILED, UNUSABLE, STOPPED = 1, 64, 143


def main(arguments: list[str]) -> int:
    match arguments:
        case ["check", directory]:
            return check(RunDirectory(Path(directory)))
        case ["examine", directory]:
            return examine(RunDirectory(Path(directory)))
        case ["merge", directory]:
            return merge(RunDirectory(Path(directory)))
        case ["screen", directory]:
            return screen(RunDirectory(Path(directory)))
        case [directory]:
            return train(RunDirectory(Path(directory)))
        case _:
            print("usage: python -m trainer [check | examine | merge | screen] RUN_DIR", file=sys.stderr)  # noqa: T201 - to its user
            return UNUSABLE


def train(directory: RunDirectory) -> int:
    """Do one run; every end but that of an unusable spec is reported as the last event."""
    interruption = Interruption(directory.stop)
    interruption.listen()
    try:
        spec = directory.read_spec()
        reporter = Reporter(directory.events)
    except (OSError, ValidationError) as error:
        return _refuse(error)
    with reporter:
        try:
            _run(directory, spec, reporter, interruption)
        except StopRequested as stop:
            interruption.ignore()
            done = step_of(spec.resume_from) if spec.resume_from else 0
            reporter.report(Interrupted, step=(done or 0) if stop.step is None else stop.step)
            return STOPPED
        except Exception as error:  # the trainer's one boundary
            interruption.ignore()
            failure = _describe(error)
            reporter.report(Failed, code=failure.code, message=failure.message, param=failure.param)
            return FAILED
    return 0


def check(directory: RunDirectory) -> int:
    """Write the report; one that holds a failure is a good end, too."""
    try:
        spec = directory.read_check_spec()
    except (OSError, ValidationError) as error:
        return _refuse(error)
    environment.prepare(spec.base_model)
    try:
        from trainer.check import check as ask

        report = ask(directory, spec)
    except Exception as error:  # the trainer's one boundary
        report = CheckReport(failure=_check_failure(error))
    directory.write_report(report)
    return 0


def examine(directory: RunDirectory) -> int:
    """Write the golden samples and the report; one that holds a failure is a good end, too."""
    try:
        spec = directory.read_examine_spec()
    except (OSError, ValidationError) as error:
        return _refuse(error)
    environment.prepare(spec.base_model, uses_bitsandbytes=spec.quantization is not None)
    try:
        from trainer.examine import examine as look

        outcome = ExamineOutcome(report=look(directory, spec))
    except AdapterUnfit as error:
        outcome = ExamineOutcome(unfit=str(error))
    except Exception as error:  # the trainer's one boundary
        outcome = ExamineOutcome(failure=_check_failure(error))
    directory.write_examine_outcome(outcome)
    return 0


def merge(directory: RunDirectory) -> int:
    """Write the merged model and the report; one that holds a failure is a good end, too."""
    try:
        spec = directory.read_merge_spec()
    except (OSError, ValidationError) as error:
        return _refuse(error)
    environment.prepare(spec.base_model)
    try:
        from trainer.merge import merge as do

        outcome = MergeOutcome(report=do(directory, spec))
    except Exception as error:  # the trainer's one boundary
        outcome = MergeOutcome(failure=_check_failure(error))
    directory.write_merge_outcome(outcome)
    return 0


def screen(directory: RunDirectory) -> int:
    """Write the report, and the file without what was redacted; one that holds a failure is a good end, too."""
    try:
        spec = directory.read_screen_spec()
    except (OSError, ValidationError) as error:
        return _refuse(error)
    try:
        from trainer.screening import screen as look_through

        outcome = ScreenOutcome(report=look_through(directory, spec))
    except Exception as error:  # the trainer's one boundary
        outcome = ScreenOutcome(failure=_check_failure(error))
    directory.write_screen_outcome(outcome)
    return 0


def _check_failure(error: Exception) -> CheckFailure:
    failure = _describe(error)
    return CheckFailure(code=failure.code, message=failure.message, param=failure.param)


def _run(directory: RunDirectory, spec: TrainingSpec, reporter: Reporter, interruption: Interruption) -> None:
    interruption.check()
    is_quantised = {spec.memory.quantization, spec.serving.quantization} != {None}
    environment.prepare(spec.base_model, uses_bitsandbytes=is_quantised or spec.method.optimizer != "adamw")
    from trainer.run import run

    run(directory, spec, reporter, interruption)


def _refuse(error: Exception) -> int:
    print(f"not a run directory of this version: {error}", file=sys.stderr)  # noqa: T201 - goes to trainer.log
    return UNUSABLE


def _describe(error: Exception) -> Failure:
    traceback.print_exception(error)
    return describe(error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
