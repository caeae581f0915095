"""What a batch may ask for is answered from within as by the public route, and stored where that stores."""

import asyncio
import json
from typing import Any

import pytest

from server.app import create_app
from server.relay.inner_door import InnerRequest
from tests.running_api import EMBEDDER, Api

MODEL = "tunesmith-demo"
BODIES: dict[str, tuple[dict[str, Any], str]] = {
    "/v1/chat/completions": ({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}, "chat.completion"),
    "/v1/completions": ({"model": MODEL, "prompt": "Hello"}, "text_completion"),
    "/v1/embeddings": ({"model": EMBEDDER.name, "input": "Hello"}, "list"),
    "/v1/responses": ({"model": MODEL, "input": "Hello"}, "response"),
}


def ask(api: Api, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    async def put() -> tuple[int, dict[str, Any]]:
        door = create_app(api.services).inner
        answer = await door.ask(InnerRequest(path.encode(), api.project_id, "key_1", json.dumps(body).encode()))
        return answer.status, json.loads(answer.body)

    return asyncio.run(put())


def test_every_endpoint_of_batches_has_a_request_here(api: Api) -> None:
    assert set(BODIES) == {path.decode() for path in create_app(api.services).inner.operations}


@pytest.mark.parametrize("path", BODIES)
def test_a_request_from_within_is_answered_as_by_the_route(api: Api, path: str) -> None:
    body, kind = BODIES[path]
    status, answer = ask(api, path, body)
    with api.http() as client:
        public = client.post(path, json=body).json()

    assert (status, answer["object"]) == (200, kind)
    assert answer.keys() == public.keys()
    assert answer["usage"] == public["usage"]


def test_what_a_batch_asks_to_be_stored_is_stored(api: Api) -> None:
    body, _ = BODIES["/v1/chat/completions"]
    _, completion = ask(api, "/v1/chat/completions", body | {"store": True})
    _, response = ask(api, "/v1/responses", BODIES["/v1/responses"][0])

    with api.client() as client:
        assert client.chat.completions.retrieve(completion["id"]).id == completion["id"]
        assert client.responses.retrieve(response["id"]).status == "completed"


def test_what_a_batch_cannot_ask_is_refused_by_name(api: Api) -> None:
    status, answer = ask(api, "/v1/responses/input_tokens", BODIES["/v1/responses"][0])

    assert (status, answer["error"]["code"]) == (404, "unknown_url")
