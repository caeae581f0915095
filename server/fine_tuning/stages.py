"""Where inside its status a job is for the worker."""

from enum import StrEnum


class Stage(StrEnum):
    """Written before the act it names begins, so that a worker that dies in it knows where to go on."""

    VALIDATE = "validate"  # the files are being parsed
    CHECK = "check"  # the trainer tokenises them
    START = "start"  # it waits for its turn
    LAUNCH = "launch"  # the attempt's run is being staged and started
    TRAIN = "train"  # the run is going on
    RETRY = "retry"  # the run has ended too early; the next attempt starts when its back-off is over
    PAUSE = "pause"  # the run is being stopped, and what it has is published
    PUBLISH = "publish"  # the run has its result
    CLEAN_UP = "clean_up"  # the job has ended; what it held can go
