"""Where inside its status a job is for the worker."""

from enum import StrEnum


class Stage(StrEnum):
    """Written before the act it names begins, so that a worker that dies in it knows where to go on."""

    VALIDATE = "validate"  # the files are being parsed
    CHECK = "check"  # the trainer tokenises them
    LAUNCH = "launch"  # the attempt's run is being staged and started
    TRAIN = "train"  # the run is going on
    PUBLISH = "publish"  # the run has its result
