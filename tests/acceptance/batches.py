"""Batches, run while parts of the service are killed, and what has to be true of their files."""

import json
import random
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import openai
from openai.types import Batch

from inference.base_shapes import read_base_shapes
from tests.acceptance.jobs import BASE
from tests.foreign_adapters import DEMO, Tensors, name_of, write_foreign
from tests.service import Service

Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]
ENDED = ("completed", "failed", "expired", "cancelled")
RANK = 4
QUESTIONS = ("Hello! Who are you?", "What can you do?", "Name a colour.", "Say something.", "How are you today?")
_STRENGTH = 0.2  # of a random adapter: the models say different things


@dataclass(frozen=True)
class Asked:
    """A request of the batch, and what its model says to it when it is asked alone."""

    custom_id: str
    model: str
    question: str


def import_models(service: Service, directory: Path, n: int) -> list[str]:
    """Adapters of random numbers, each its own."""
    return [
        service.tunesmith("models", "import", str(_make_adapter(directory / str(seed), seed)), "--base", BASE).strip()
        for seed in range(n)
    ]


def _make_adapter(directory: Path, seed: int) -> Path:
    numbers = random.Random(seed)
    tensors: Tensors = {}
    for layer, shapes in read_base_shapes(DEMO).items():  # type: ignore[union-attr]  # they are there
        if not layer.endswith(("v_proj", "down_proj")):
            continue
        rows, columns = max(shapes)
        for factor, shape in (("A", [RANK, columns]), ("B", [rows, RANK])):
            values = array("f", (numbers.gauss(0, _STRENGTH) for _ in range(shape[0] * shape[1])))
            tensors[name_of(layer, factor)] = ("F32", shape, values.tobytes())
    return write_foreign(directory, tensors, target_modules=["v_proj", "down_proj"], lora_dropout=0.0)


def said_alone(client: openai.OpenAI, models: Sequence[str]) -> dict[tuple[str, str], str]:
    """What each model says to each question; no two say the same to all."""
    said = {(model, question): _ask(client, model, question) for model in models for question in QUESTIONS}
    assert len({tuple(said[model, question] for question in QUESTIONS) for model in models}) == len(models)
    return said


def requests_of(models: Sequence[str], n: int) -> list[Asked]:
    return [
        Asked(f"request-{number}", models[number % len(models)], QUESTIONS[number // len(models) % len(QUESTIONS)])
        for number in range(n)
    ]


def create_batch(client: openai.OpenAI, requests: Sequence[Asked]) -> Batch:
    return create_batch_of(client, "/v1/chat/completions", {asked.custom_id: _body(asked) for asked in requests})


def create_batch_of(client: openai.OpenAI, endpoint: Endpoint, bodies: Mapping[str, object]) -> Batch:
    """`bodies` by the ids that the lines are to have."""
    lines = [
        {"custom_id": custom_id, "method": "POST", "url": endpoint, "body": body} for custom_id, body in bodies.items()
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("batch.jsonl", content), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", metadata={"of": "a test"}
    )


def wait_for(
    service: Service, client: openai.OpenAI, batch: Batch, is_so: Callable[[Batch], bool], timeout_s: float = 300
) -> Batch:
    """Look at it until something is so, over restarts of what answers; its counts are never more than there are."""

    def look() -> Batch | None:
        try:
            now = client.batches.retrieve(batch.id)
        except (openai.APIConnectionError, openai.InternalServerError):
            return None
        counts = now.request_counts
        assert counts is not None
        assert counts.completed + counts.failed <= max(counts.total, 0)
        return now if is_so(now) else None

    return service.wait_for(look, f"batch {batch.id}", timeout_s=timeout_s)


def has_answered(n: int) -> Callable[[Batch], bool]:
    return lambda batch: (
        batch.status in ENDED or (batch.request_counts is not None and batch.request_counts.completed >= n)
    )


def assert_each_once(
    client: openai.OpenAI, batch: Batch, requests: Sequence[Asked], said: dict[tuple[str, str], str]
) -> None:
    """Each request has one line in one of the files, and the answer of the model that it asked."""
    answers = answers_of(client, batch, [asked.custom_id for asked in requests])
    for asked in requests:
        body = answers[asked.custom_id]
        assert body["model"] == asked.model
        assert body["choices"][0]["message"]["content"] == said[asked.model, asked.question]
    assert batch.usage is not None
    assert batch.usage.output_tokens == sum(body["usage"]["completion_tokens"] for body in answers.values())


def answers_of(client: openai.OpenAI, batch: Batch, custom_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The answers of a batch by their ids: one each, all good ones, and as many as it counts."""
    assert (batch.status, batch.metadata) == ("completed", {"of": "a test"})
    outputs, errors = (_read(client, file_id) for file_id in (batch.output_file_id, batch.error_file_id))
    counts = batch.request_counts
    assert counts is not None
    assert Counter(line["custom_id"] for line in [*outputs, *errors]) == Counter(custom_ids)
    assert (counts.total, counts.completed, counts.failed) == (len(custom_ids), len(outputs), len(errors))
    assert errors == []
    assert {line["response"]["status_code"] for line in outputs} == {200}
    return {line["custom_id"]: line["response"]["body"] for line in outputs}


def _read(client: openai.OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    if file_id is None:
        return []
    assert client.files.retrieve(file_id).purpose == "batch_output"
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


def _body(asked: Asked) -> dict[str, Any]:
    messages = [{"role": "user", "content": asked.question}]
    return {"model": asked.model, "messages": messages, "max_tokens": 8, "temperature": 0}


def _ask(client: openai.OpenAI, model: str, question: str) -> str:
    answer = client.chat.completions.create(**_body(Asked("", model, question)))
    text: str = answer.choices[0].message.content or ""
    return text
