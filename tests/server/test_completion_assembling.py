"""The events of a stream → the whole answer."""

import json
from typing import Any

import pytest

from server.relay.accounts import Usage
from server.stored_completions.assembling import assemble
from server.stored_completions.completion import build_completion

HEAD = {"id": "chatcmpl-1", "created": 7, "model": "m", "object": "chat.completion.chunk", "service_tier": "default"}
USAGE = Usage(prompt_tokens=5, completion_tokens=3, cached_tokens=2)


def events(*parts: dict[str, Any]) -> bytes:
    """Choices of chunks, each in an event of its own."""
    written = [{**HEAD, "choices": [{"index": 0, "logprobs": None, "finish_reason": None, **part}]} for part in parts]
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in written) + b"data: [DONE]\n\n"


def text(content: str, **more: Any) -> dict[str, Any]:
    return {"delta": {"content": content}, **more}


def call(index: int, **function: str) -> dict[str, Any]:
    part: dict[str, Any] = {"index": index, "function": function}
    return {
        "delta": {"tool_calls": [part | ({"id": f"call_{index}", "type": "function"} if "name" in function else {})]}
    }


def called(index: int, name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}


FIRST = {"delta": {"role": "assistant", "content": ""}}
STOP = {"delta": {}, "finish_reason": "stop"}
CALLS = {"delta": {}, "finish_reason": "tool_calls"}
SCORED = [{"token": token, "logprob": -0.5, "bytes": None, "top_logprobs": []} for token in "ab"]

# What was streamed; then of each choice the content, the calls, how it ended, and its logprobs.
ROWS: dict[str, tuple[bytes, list[tuple[Any, Any, str, Any]]]] = {
    "a text": (events(FIRST, text("Hel"), text("lo"), STOP), [("Hello", None, "stop", None)]),
    "a text of any characters": (
        events(FIRST, text('"é\n'), text("data: x\n\n"), STOP),
        [('"é\ndata: x\n\n', None, "stop", None)],
    ),
    "nothing": (events(FIRST, STOP), [("", None, "stop", None)]),
    "an end with text": (events(FIRST, text("x", finish_reason="length")), [("x", None, "length", None)]),
    "calls in parts": (
        events(FIRST, call(0, name="f"), call(0, arguments='{"a"'), call(0, arguments=":1}"), call(1, name="g"), CALLS),
        [(None, [called(0, "f", '{"a":1}'), called(1, "g", "")], "tool_calls", None)],
    ),
    "a text before a call": (
        events(FIRST, text("Let me see."), call(0, name="f", arguments="{}"), CALLS),
        [("Let me see.", [called(0, "f", "{}")], "tool_calls", None)],
    ),
    "choices one between the other": (
        events(*({**part, "index": index} for part in (FIRST, text("x"), text("y"), STOP) for index in (1, 0))),
        [("xy", None, "stop", None), ("xy", None, "stop", None)],
    ),
    "logprobs": (
        events(FIRST, *(text(s["token"], logprobs={"content": [s], "refusal": None}) for s in SCORED), STOP),
        [("ab", None, "stop", SCORED)],
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_stream_is_put_together(name: str) -> None:
    streamed, expected = ROWS[name]
    answer = assemble(streamed, USAGE)

    assert (answer["id"], answer["created"], answer["model"], answer["object"]) == (
        "chatcmpl-1",
        7,
        "m",
        "chat.completion",
    )
    found = [
        (
            choice["message"]["content"],
            choice["message"].get("tool_calls"),
            choice["finish_reason"],
            choice["logprobs"] and choice["logprobs"]["content"],
        )
        for choice in answer["choices"]
    ]
    assert found == expected
    assert [choice["index"] for choice in answer["choices"]] == list(range(len(expected)))


def test_the_usage_is_known_whether_the_client_asked_for_it_or_not() -> None:
    plain = events(FIRST, text("x"), STOP)
    last = b"data: " + json.dumps({**HEAD, "choices": [], "usage": {"prompt_tokens": 5}}).encode() + b"\n\n"
    told = plain.replace(b"data: [DONE]", last + b"data: [DONE]")

    assert assemble(plain, USAGE) == assemble(told, USAGE)
    usage = assemble(plain, USAGE)["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (5, 3, 8)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 2


def test_a_stream_and_a_whole_answer_make_the_same_completion() -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "metadata": {"a": "b"}}
    streamed = events(FIRST, text("x"), STOP)
    whole = json.dumps(assemble(streamed, USAGE)).encode()
    by_stream = build_completion(json.dumps(asked | {"stream": True}).encode(), streamed, USAGE, "req_1")

    assert by_stream == build_completion(json.dumps(asked).encode(), whole, USAGE, "req_1")
    assert by_stream.labels == {"model": "m", "metadata.a": "b"}
    shown = json.loads(by_stream.shown)
    assert (shown["temperature"], shown["top_p"], shown["request_id"]) == (0, 1.0, "req_1")
    assert by_stream.size_bytes > len(by_stream.shown) + len(by_stream.messages)
