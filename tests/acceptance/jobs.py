"""Jobs as a client makes and watches them."""

from pathlib import Path
from typing import Any

import openai
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from support_desk_task import Question, build_task, training_file

from tests.service import Service

BASE = "tunesmith-demo"
ENDED = ("succeeded", "failed", "cancelled")
TASK = build_task(3)


def create_job(
    client: openai.OpenAI, content: bytes, *, model: str = BASE, validation: bytes | None = None, **options: Any
) -> FineTuningJob:
    """Upload the files and make the job; `n_epochs` and the like may be given as they are."""
    names = ("n_epochs", "batch_size", "learning_rate_multiplier")
    hyperparameters = {name: options.pop(name) for name in names if name in options}
    if hyperparameters:
        options["method"] = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    if validation is not None:
        options["validation_file"] = upload(client, validation)
    return client.fine_tuning.jobs.create(model=model, training_file=upload(client, content), **options)


def upload(client: openai.OpenAI, content: bytes) -> str:
    return client.files.create(file=("data.jsonl", content), purpose="fine-tune").id


def small_file(n_examples: int) -> bytes:
    return training_file(TASK.training[:n_examples])


def events_of(client: openai.OpenAI, job_id: str) -> list[FineTuningJobEvent]:
    """All of them, oldest first, over as many pages as it takes."""
    return list(client.fine_tuning.jobs.list_events(job_id, limit=100))[::-1]


def metrics_of(client: openai.OpenAI, job_id: str) -> list[dict[str, Any]]:
    """The data of the metrics events, oldest first."""
    return [dict(event.data) for event in events_of(client, job_id) if event.type == "metrics"]  # type: ignore[call-overload]  # typed as object


def wait_until_ended(
    service: Service, client: openai.OpenAI, job: FineTuningJob, *, timeout_s: float = 240
) -> FineTuningJob:
    def ended() -> FineTuningJob | None:
        try:
            now = client.fine_tuning.jobs.retrieve(job.id)
        except (openai.APIConnectionError, openai.InternalServerError):  # the API is being started again
            return None
        return now if now.status in ENDED else None

    return service.wait_for(ended, f"job {job.id} to end", timeout_s=timeout_s)


def wait_for_step(service: Service, client: openai.OpenAI, job: FineTuningJob, *, beyond: int = 0) -> int:
    """Wait until a step beyond this one was reported; its number. The job is in the middle of its training then."""

    def step() -> int | None:
        try:
            newest = client.fine_tuning.jobs.list_events(job.id, limit=20).data
            status = client.fine_tuning.jobs.retrieve(job.id).status
        except (openai.APIConnectionError, openai.InternalServerError):
            return None
        assert status not in ENDED, f"the job is {status} before step {beyond + 1}: {newest[0].message}"
        steps = [int(event.data["step"]) for event in newest if event.type == "metrics"]  # type: ignore[index]  # typed as object
        return max((step for step in steps if step > beyond), default=None)

    return service.wait_for(step, f"job {job.id} to go beyond step {beyond}")


def ask(client: openai.OpenAI, model: str, question: Question, *, stream: bool = False) -> str:
    """The likeliest answer; whoever answers says the name that was asked."""
    options: dict[str, Any] = {"model": model, "messages": question.prompt(), "temperature": 0, "max_tokens": 40}
    if not stream:
        whole = client.chat.completions.create(**options)
        assert whole.model == model
        return whole.choices[0].message.content or ""
    with client.chat.completions.create(**options, stream=True) as chunks:
        received = list(chunks)
    assert {chunk.model for chunk in received} == {model}
    return "".join(choice.delta.content or "" for chunk in received for choice in chunk.choices)


def half_written_files(home: Path) -> list[Path]:
    """What a process that died in the middle of writing has left where it can be seen."""
    named = [path for path in home.rglob("*") if path.name.endswith(".tmp")]
    return [*named, *home.glob("files/tmp/*")]
