"""Trainers in processes of their own, ended at a step; forked, so that they need not import torch again."""

import os
import signal
import time

from trainer.contract.run_directory import RunDirectory


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
