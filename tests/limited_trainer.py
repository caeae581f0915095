"""The trainer as it is, in a process that the kernel gives only so much memory beside what its libraries take."""

import resource
import sys
from pathlib import Path

from trainer import environment
from trainer.__main__ import main
from trainer.contract.run_directory import RunDirectory

FOR_TRAINING_BYTES = 700_000_000


def limit_memory(run: RunDirectory) -> None:
    environment.prepare(run.read_spec().base_model)
    import trainer.run  # noqa: F401 - takes what it takes before there is a model

    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:")]
    limit_bytes = int(line.split()[1]) * 1024 + FOR_TRAINING_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


if __name__ == "__main__":
    if len(sys.argv) == 2:  # a check needs no limit
        limit_memory(RunDirectory(Path(sys.argv[1])))
    sys.exit(main(sys.argv[1:]))
