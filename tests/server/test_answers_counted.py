"""How many answers a request asks for: as many places it takes at the gate, whatever route it came by."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from server.chat.request import read_request as read_chat
from server.completions.request import read_request as read_completion
from server.embeddings.request import read_request as read_embeddings
from server.relay.open_account import count_answers
from server.relay.relayed_request import RelayedRequest
from server.responses.request import read_request as read_response

SAID = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "temperature": 1}


@pytest.mark.parametrize(
    ("read", "body", "n"),
    [
        (read_chat, SAID, 1),
        (read_chat, {**SAID, "n": 128}, 128),
        (read_completion, {"model": "m", "prompt": "Hello", "n": 2}, 2),
        (read_completion, {"model": "m", "prompt": ["a", "b", "c"], "n": 2, "temperature": 1}, 6),
        (read_completion, {"model": "m", "prompt": [1, 2, 3]}, 1),
        (read_completion, {"model": "m", "prompt": [[1, 2], [3]]}, 2),
        (read_embeddings, {"model": "m", "input": "Hello"}, 1),
        (read_embeddings, {"model": "m", "input": ["a"] * 2048}, 2048),
        (read_embeddings, {"model": "m", "input": [1, 2, 3]}, 1),
        (read_response, {"model": "m", "input": "Hello"}, 1),
    ],
)
def test_answers_are_counted(read: Callable[[bytes], RelayedRequest], body: dict[str, Any], n: int) -> None:
    assert count_answers(read(json.dumps(body).encode()).fields) == n
