"""The loop of distillation: a teacher's answers are stored, become a training file, and a student learns from it."""

import json
from typing import Any

import httpx
import openai
import pytest

from tests.acceptance.jobs import BASE, TASK, ask, metrics_of, wait_until_ended
from tests.service import Service

N_STORED = 12
MAIL = "ann.lee@acme-tools.io"


def answer_and_store(client: openai.OpenAI, number: int) -> str:
    """One question to the teacher, every other one streamed; gives the id."""
    messages: list[Any] = TASK.training[number].prompt()
    messages[-1] = messages[-1] | {"content": f"{messages[-1]['content']} ({MAIL})"}
    options: dict[str, Any] = {"model": BASE, "messages": messages, "temperature": 0, "max_tokens": 24, "store": True}
    options["metadata"] = {"app": "support", "part": str(number % 2)}
    if number % 2:
        return [chunk.id for chunk in client.chat.completions.create(**options, stream=True)][-1]
    return str(client.chat.completions.create(**options).id)


@pytest.mark.timeout(300)
def test_a_student_learns_from_what_a_teacher_was_asked(service: Service) -> None:
    with service.client(service.new_key("distils")) as client:
        stored = [answer_and_store(client, number) for number in range(N_STORED)]
        client.chat.completions.create(model=BASE, messages=[{"role": "user", "content": "Hi"}], max_tokens=4)
        assert [one.id for one in client.chat.completions.list(metadata={"app": "support"}, limit=5)] == stored
        assert [one.id for one in client.chat.completions.list(metadata={"part": "1"})] == stored[1::2]

        filtered = {"metadata": {"app": "support"}, "finish_reasons": ["stop", "length"]}
        export = httpx.post(
            f"{client.base_url}tunesmith/chat_completion_exports",
            headers={"authorization": f"Bearer {client.api_key}"},
            json={"filter": filtered, "pii": "redact"},
            timeout=120,
        )
        assert export.status_code == 200, export.text
        made = export.json()
        assert (made["completions"], made["examples"]) == (N_STORED, N_STORED)
        assert made["pii"] == {"policy": "redact", "examples": N_STORED, "matches": {"e-mail address": N_STORED}}
        lines = [json.loads(line) for line in client.files.content(made["file"]["id"]).text.splitlines()]
        said = [client.chat.completions.retrieve(one).choices[0].message.content for one in stored]
        assert [line["messages"][-1]["content"] for line in lines] == said
        assert all("[EMAIL]" in line["messages"][-2]["content"] for line in lines)

        job = client.fine_tuning.jobs.create(
            model=BASE,
            training_file=made["file"]["id"],
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 4}}},
        )
        job = wait_until_ended(service, client, job)
        assert (job.status, job.error) == ("succeeded", None)
        assert len(metrics_of(client, job.id)) == 3
        assert job.fine_tuned_model is not None
        assert ask(client, job.fine_tuned_model, TASK.held_out[0])
