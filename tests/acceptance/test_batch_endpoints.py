"""Batches of what is not chat, through the real engines: each line is answered as it is when it is asked alone."""

from pathlib import Path
from typing import Any

import openai
import pytest

from tests.acceptance.batches import (
    Endpoint,
    answers_of,
    create_batch_of,
    has_answered,
    import_models,
    requests_of,
    wait_for,
)
from tests.acceptance.conftest import running_service
from tests.service import ROOT, Service
from tests.small_embedder import CONTEXT, WIDTH, write_embedder

LINES, TEXTS, LINES_OF_EACH = 24, 12, 25
EMBEDDER = "embedder"


@pytest.fixture(scope="module")
def models(service: Service, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return import_models(service, tmp_path_factory.mktemp("adapters"), 2)


@pytest.mark.parametrize("endpoint", ["/v1/completions", "/v1/responses"])
def test_texts_are_those_that_each_model_gives_alone(
    service: Service, client: openai.OpenAI, models: list[str], endpoint: Endpoint
) -> None:
    said_by = {"/v1/completions": completion_of, "/v1/responses": response_of}[endpoint]
    requests = requests_of(models, LINES)
    bodies = {asked.custom_id: body_for(endpoint, asked.model, asked.question) for asked in requests}
    alone = {(asked.model, asked.question): ask(client, endpoint, bodies[asked.custom_id]) for asked in requests}

    batch = create_batch_of(client, endpoint, bodies)
    batch = wait_for(service, client, batch, lambda now: now.status == "completed")

    answers = answers_of(client, batch, list(bodies))
    assert {asked.custom_id: answers[asked.custom_id]["model"] for asked in requests} == {
        asked.custom_id: asked.model for asked in requests
    }
    assert {custom_id: said_by(answer) for custom_id, answer in answers.items()} == {
        asked.custom_id: said_by(alone[asked.model, asked.question]) for asked in requests
    }
    if endpoint == "/v1/responses":
        kept = answers[requests[0].custom_id]
        assert client.responses.retrieve(kept["id"]).output_text == response_of(kept)


def test_embeddings_are_those_that_are_given_alone_though_the_worker_is_killed(tmp_path: Path) -> None:
    """Its engine stands beside that of the demo model, and reads what vLLM calls a pooling request."""
    with (
        running_service({"TUNESMITH_BASE_MODELS_FILE": str(with_embedder(tmp_path))}) as service,
        service.client() as client,
    ):
        texts = {n: {"model": EMBEDDER, "input": [f"number {n}", "Hello"]} for n in range(TEXTS)}
        alone = {n: vectors(ask(client, "/v1/embeddings", body)) for n, body in texts.items()}
        assert len({str(given[0]) for given in alone.values()}) == TEXTS
        bodies = {f"line {n}": texts[n % TEXTS] for n in range(TEXTS * LINES_OF_EACH)}

        batch = create_batch_of(client, "/v1/embeddings", bodies)
        wait_for(service, client, batch, has_answered(1))
        service.kill("worker")
        batch = wait_for(service, client, batch, lambda now: now.status == "completed")

        answers = answers_of(client, batch, list(bodies))
        for n, name in enumerate(bodies):
            for vector, expected in zip(vectors(answers[name]), alone[n % TEXTS], strict=True):
                assert len(vector) == WIDTH
                assert vector == pytest.approx(expected, abs=1e-5)


def with_embedder(directory: Path) -> Path:
    """A file of base models: the demo model, and a small one for embeddings."""
    entry = '[[base_model]]\nname = "{}"\nsource = "{}"\ncontext_length = {}\nkind = "{}"\n'
    demo = entry.format("tunesmith-demo", ROOT / "examples" / "demo_model", 1024, "chat")
    file = directory / "base_models.toml"
    file.write_text(demo + entry.format(EMBEDDER, write_embedder(directory / EMBEDDER), CONTEXT, "embedding"))
    return file


def body_for(endpoint: Endpoint, model: str, question: str) -> dict[str, Any]:
    if endpoint == "/v1/completions":
        return {"model": model, "prompt": question, "max_tokens": 8, "temperature": 0}
    return {"model": model, "input": question, "max_output_tokens": 16, "temperature": 0}


def ask(client: openai.OpenAI, endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = client.post(endpoint.removeprefix("/v1"), body=body, cast_to=object)  # type: ignore[assignment]
    return answer


def completion_of(answer: dict[str, Any]) -> str:
    text: str = answer["choices"][0]["text"]
    return text


def response_of(answer: dict[str, Any]) -> str:
    text: str = answer["output"][0]["content"][0]["text"]
    return text


def vectors(answer: dict[str, Any]) -> list[list[float]]:
    return [one["embedding"] for one in answer["data"]]
