"""A fine-tuning job on the terminal, as it goes."""

import sys
import time

from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

_POLL_S = 0.5
_ENDED = ("succeeded", "failed", "cancelled")


def follow(client: OpenAI, job: FineTuningJob) -> FineTuningJob:
    """Show the job's events until it ends; give the job as it ended."""
    seen: set[str] = set()
    while True:
        job = client.fine_tuning.jobs.retrieve(job.id)  # before the events, so that none of the last is missed
        for event in _new_events(client, job.id, seen):
            _show(event)
        if job.status in _ENDED:
            return job
        time.sleep(_POLL_S)


def _new_events(client: OpenAI, job_id: str, seen: set[str]) -> list[FineTuningJobEvent]:
    """Events not shown yet, oldest first. The list has the newest first, over as many pages as it takes."""
    new = []
    for event in client.fine_tuning.jobs.list_events(job_id, limit=50):
        if event.id in seen:
            break
        seen.add(event.id)
        new.append(event)
    return new[::-1]


def _show(event: FineTuningJobEvent) -> None:
    """Messages get a line each; steps share one on a terminal, and elsewhere every twenty-fifth is shown."""
    if event.type != "metrics" or not isinstance(event.data, dict):
        print(f"  {event.message}", flush=True)
        return
    step, total = int(event.data["step"]), int(event.data["total_steps"])
    line = f"  step {step}/{total}  train loss {event.data['train_loss']:.4f}"
    if event.data.get("full_valid_loss") is not None:
        line += f"  validation loss {event.data['full_valid_loss']:.4f}"
    if sys.stdout.isatty():
        print(f"\r{line:<78}", end="\n" if step == total else "", flush=True)
    elif step % 25 == 0 or step == total or "validation" in line:
        print(line, flush=True)
