"""Events, failures and interruptions."""

import errno
import os
import signal
from pathlib import Path

import pytest

from trainer.contract.events import FailureCode, Interrupted, Note, Succeeded
from trainer.contract.examples import read_examples
from trainer.contract.invalid import ExampleInvalid
from trainer.contract.run_directory import read_events
from trainer.failures import BaseModelUnavailable, FileUnusable, LossNotFinite, describe
from trainer.interruption import Interruption, StopRequested
from trainer.reporter import Reporter


def test_events_are_numbered_densely_and_read_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Reporter(path, clock=lambda: 12.5) as reporter:
        written = [
            reporter.report(Note, level="info", message="one\ntwo"),
            reporter.report(Succeeded, step=3, trained_tokens=9, adapter="adapter"),
        ]
    assert read_events(path).events == written
    assert [(event.seq, event.at) for event in written] == [(0, 12.5), (1, 12.5)]


def test_a_torn_last_line_is_not_an_event_until_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Reporter(path) as reporter:
        reporter.report(Note, level="info", message="one")
        reporter.report(Interrupted, step=1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    first = read_events(path)
    assert [event.seq for event in first.events] == [0]
    path.write_bytes(whole)
    assert [event.seq for event in read_events(path, first.offset).events] == [1]


def test_a_run_directory_is_used_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    Reporter(path).__exit__(None, None, None)
    with pytest.raises(FileExistsError):
        Reporter(path)


def invalid_example() -> ExampleInvalid:
    with pytest.raises(ExampleInvalid) as caught:
        list(read_examples([b"{}"]))
    return caught.value


@pytest.mark.parametrize(
    ("error", "code", "param"),
    [
        (MemoryError(), FailureCode.OUT_OF_MEMORY, None),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
            FailureCode.OUT_OF_MEMORY,
            None,
        ),
        (RuntimeError("CUDA error: out of memory"), FailureCode.OUT_OF_MEMORY, None),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            FailureCode.OUT_OF_MEMORY,
            None,
        ),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), FailureCode.INTERNAL_ERROR, None),
        (OSError(errno.ENOSPC, "No space left on device"), FailureCode.DISK_FULL, None),
        (OSError(errno.EDQUOT, "Quota exceeded"), FailureCode.DISK_FULL, None),
        (OSError(errno.EIO, "secret path"), FailureCode.INTERNAL_ERROR, None),
        (BaseModelUnavailable("x"), FailureCode.BASE_MODEL_UNAVAILABLE, None),
        (FileUnusable("x", param="training_file"), FailureCode.INVALID_TRAINING_FILE, "training_file"),
        (FileUnusable("x", param="validation_file"), FailureCode.INVALID_VALIDATION_FILE, "validation_file"),
        (LossNotFinite("training loss", 4), FailureCode.LOSS_NOT_FINITE, "hyperparameters"),
        (invalid_example(), FailureCode.INVALID_TRAINING_FILE, "training_file"),
        (KeyError("secret text"), FailureCode.INTERNAL_ERROR, None),
    ],
    ids=repr,
)
def test_each_exception_has_one_code_and_safe_words(error: Exception, code: FailureCode, param: str | None) -> None:
    failure = describe(error)
    assert (failure.code, failure.param) == (code, param)
    assert failure.message
    assert "secret" not in failure.message


def test_a_signal_is_raised_at_once_or_at_the_next_check(tmp_path: Path) -> None:
    interruption = Interruption(tmp_path / "stop")
    previous = signal.getsignal(signal.SIGTERM)
    interruption.listen()
    try:
        with pytest.raises(StopRequested):
            os.kill(os.getpid(), signal.SIGTERM)
        with interruption.deferred(), pytest.raises(StopRequested):
            interruption.check()
    finally:
        signal.signal(signal.SIGTERM, previous)


def test_a_stop_file_asks_to_stop_like_a_signal(tmp_path: Path) -> None:
    interruption = Interruption(tmp_path / "stop")
    interruption.check()
    (tmp_path / "stop").touch()
    with pytest.raises(StopRequested):
        interruption.check()
