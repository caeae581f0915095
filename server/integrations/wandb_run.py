"""What a job's run at Weights & Biases is told (pure)."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.db.tables import JobEventRow, JobRow
from server.settings import Settings
from server.vocabulary import JobStatus

_LEFT_OUT = ("WANDB_", "TUNESMITH_", "OPENAI_")  # the operator's own


def opening(job: JobRow, position: int, settings: Settings, directory: Path) -> dict[str, Any]:
    """Say what the run is, with OpenAI's id, tags and configuration. No word of the data is in it."""
    asked = (job.integrations or [])[position]["wandb"]
    default_tags = ["openai/finetune", f"openai/{job.requested_model}"[:64], f"openai/{job.id}"]
    return {
        "mode": settings.wandb_mode,
        "base_url": settings.wandb_base_url,
        "directory": str(directory),
        "run_id": job.id,
        "project": asked["project"],
        "entity": asked.get("entity"),
        "name": asked.get("name") or job.id,
        "tags": list(dict.fromkeys([*default_tags, *(asked.get("tags") or [])])),
        "config": {
            "model": job.requested_model,
            "training_file": job.training_file,
            "validation_file": job.validation_file,
            "hyperparameters": job.hyperparameters,
            "seed": job.seed,
        },
    }


def metrics(event: JobEventRow) -> dict[str, Any]:
    data = dict(event.data or {})
    return {"step": data.pop("step"), "metrics": data}


def end(job: JobRow) -> dict[str, Any]:
    succeeded = job.status is JobStatus.SUCCEEDED
    summary = {
        "status": job.status.value,
        "trained_tokens": job.trained_tokens,
        "fine_tuned_model": job.fine_tuned_model,
    }
    return {"end": {"exit_code": 0 if succeeded else 1, "summary": summary}}


def environment(inherited: Mapping[str, str], directory: Path, api_key: str | None) -> dict[str, str]:
    """The process's: no key but the project's, and no home in which the library would find the operator's."""
    kept = {name: value for name, value in inherited.items() if not name.startswith(_LEFT_OUT)}
    own = {"HOME": os.fspath(directory), "NETRC": os.devnull, "WANDB_ERROR_REPORTING": "false"}
    return kept | own | ({} if api_key is None else {"WANDB_API_KEY": api_key})
