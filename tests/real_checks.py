"""The trainer's own check inside the test, with a small tokenizer and no base model, for a `PlayedTrainer`."""

from collections.abc import Callable
from pathlib import Path

from tests.trainer_runs import make_tokenizer
from trainer.check import look_through
from trainer.contract.report import CheckFailure, CheckReport
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource
from trainer.failures import FileUnusable, describe
from trainer.tokenizer import load_chat_tokenizer

Check = Callable[[RunDirectory], CheckReport]


def make_real_check(base: Path) -> Check:
    tokenizer = load_chat_tokenizer(BaseModelSource(source=str(make_tokenizer(base))))

    def check(run: RunDirectory) -> CheckReport:
        try:
            report = look_through(run, run.read_check_spec(), tokenizer)
        except FileUnusable as error:
            failure = describe(error)
            return CheckReport(failure=CheckFailure(code=failure.code, message=failure.message, param=failure.param))
        return report.model_copy(update={"base_parameters": 1_000_000})

    return check
