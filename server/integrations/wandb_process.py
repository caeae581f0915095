"""`python -m server.integrations.wandb_process`: one run at Weights & Biases, fed by lines of JSON on standard input.

A process of its own, so that a library which talks to another service can neither hang nor kill the worker.
The first line says what the run is, each other one is `{"step": n, "metrics": {…}}` or, as the last, `{"end": {…}}`.
Exit status: 0 the end was told and everything has arrived; 1 it has not.

What was logged before, by a process that died, is sent again: the library leaves out steps that the run has already.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

_GRACE_S = 60  # for what is on its way when our parent has gone


def main() -> int:
    """Log until the end is told, or standard input ends."""
    opening = json.loads(sys.stdin.readline())
    run = _open(opening)
    for line in sys.stdin:
        said: dict[str, Any] = json.loads(line)
        if "end" in said:
            run.summary.update(said["end"]["summary"])
            run.finish(exit_code=said["end"]["exit_code"])
            return 0
        run.log(said["metrics"], step=said["step"])
    signal.alarm(_GRACE_S)
    run.finish()
    return 1


def _open(opening: dict[str, Any]) -> Any:
    import wandb  # slow, and needed by this process alone

    directory = Path(opening["directory"])
    if opening["mode"] == "offline":  # whole runs only: what an earlier process has begun is written again
        shutil.rmtree(directory / "wandb", ignore_errors=True)
    return wandb.init(
        id=opening["run_id"],
        project=opening["project"],
        entity=opening["entity"],
        name=opening["name"],
        tags=opening["tags"],
        config=opening["config"],
        mode=opening["mode"],
        dir=directory,
        resume="allow",
        settings=wandb.Settings(
            base_url=opening["base_url"],
            api_key=os.environ.get("WANDB_API_KEY"),
            init_timeout=60,
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            disable_job_creation=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
