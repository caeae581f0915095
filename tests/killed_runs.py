"""Trainers in processes of their own, ended at a step; forked, so that they need not import torch again."""

import os
import signal
import time
from collections.abc import Sequence

import pytest
from trainer_runs import progress

from trainer.contract.run_directory import RunDirectory
from trainer.tally import Tally
from trainer.validation import Validation


def fork(run: RunDirectory) -> int:
    """Start the trainer as `python -m trainer` does; its process id."""
    from trainer.__main__ import train  # before the fork, which is what it is for
    from trainer.run import run as _  # noqa: F401 - with torch

    child = os.fork()
    if child == 0:
        status = 70
        try:
            status = train(run)
        finally:
            os._exit(status)
    return child


def wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def end_at(run: RunDirectory, step: int, how: signal.Signals) -> int:
    """Train until a step is reported, and end the process there; its exit code."""
    process = fork(run)
    deadline = time.monotonic() + 240  # on a machine with other work
    while not run.events.exists() or f'"step":{step},' not in run.events.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(process, how)
    return wait(process)


def validations(run: RunDirectory) -> list[str]:
    """The validations of a run, in the order in which they are made."""
    kinds = ("valid_loss", "full_valid_loss")
    return [kind for event in progress(run) for kind in kinds if getattr(event.metrics, kind) is not None]


def stop_within_validation(run: RunDirectory, n: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Train, and ask the run to stop just when its nth validation begins, from 0; the exit code."""
    measure, begun = Validation._measure, iter(range(n + 1))

    def ask_and_measure(validation: Validation, numbers: Sequence[int]) -> Tally:
        if next(begun) == n:
            run.stop.touch()
        return measure(validation, numbers)

    with monkeypatch.context() as patched:
        patched.setattr(Validation, "_measure", ask_and_measure)
        return wait(fork(run))
