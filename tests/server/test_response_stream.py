"""The engine's answers to a chat, as vLLM writes them, become responses and typed events; both say the same."""

import json
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from server.errors import ServerFault
from server.relay.answers import AnswerRefused, AnswerUnusable, Naming
from server.responses.answer import final_response, rewrite
from server.responses.before import Before
from server.responses.request import ResponseRequest, read_request
from server.responses.stream import EventRewriter

NAMING = Naming(asked="ft:x", engine="engine's")
HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 5, "model": "engine's"}
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 3,
    "total_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": None,
}
DONE = b"data: [DONE]\n\n"
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
SCORED = {"token": "é", "logprob": -0.5, "bytes": [195, 169]}
TOKEN = {**SCORED, "top_logprobs": [SCORED, {"token": "e", "logprob": -2.0, "bytes": None}]}


def request(**fields: Any) -> ResponseRequest:
    raw = json.dumps({"model": "ft:x", "input": "Hello", **fields}).encode()
    return read_request(raw).completed("resp_x", 7, Before(), {})


def chunk(delta: dict[str, Any], finish: str | None = None, logprobs: Any = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish, "token_ids": None}
    return event({**HEAD, "choices": [choice]})


def event(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"


def call(index: int, arguments: str, name: str | None = None) -> dict[str, Any]:
    """A part of a call; with the name it begins."""
    if name is None:
        return {"index": index, "function": {"arguments": arguments}}
    return {
        "index": index,
        "id": f"call_{name}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


BEGINNING = chunk({"role": "assistant", "content": ""})
END = event({**HEAD, "choices": [], "usage": USAGE}) + DONE
TEXT = BEGINNING + chunk({"content": "Hé"}) + chunk({"content": "llo"}) + chunk({"content": ""}, "stop") + END
CALLS = (
    BEGINNING
    + chunk({"content": "Let me see"})
    + chunk({"tool_calls": [call(0, "", "first")]})
    + chunk({"tool_calls": [call(0, '{"a":')]})
    + chunk({"tool_calls": [call(0, "1}"), call(1, "{", "second")]})
    + chunk({"tool_calls": [call(1, "}")]})
    + chunk({}, "tool_calls")
    + END
)


def feed(stream: bytes, *, step: int | None = None, **fields: Any) -> list[dict[str, Any]]:
    """Give the events; the bytes come in steps of this size."""
    rewriter = EventRewriter(NAMING, request(stream=True, **fields), lambda: 9.5)
    step = step or len(stream)
    written = b"".join(rewriter.feed(stream[at : at + step]) for at in range(0, len(stream), step))
    assert rewriter.is_done
    assert final_response(written, streamed=True)["id"] == "resp_x"
    return read(written)


def read(written: bytes) -> list[dict[str, Any]]:
    """Each as the official client does, strictly."""
    events = []
    for text in written.decode().removesuffix("\n\n").split("\n\n"):
        name, _, data = text.partition("\n")
        payload = json.loads(data.removeprefix("data: "))
        assert name == f"event: {payload['type']}"
        EVENTS.validate_python(payload)
        events.append(payload)
    assert [payload["sequence_number"] for payload in events] == list(range(len(events)))
    return events


def whole(message: dict[str, Any], finish: str, logprobs: Any = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, "logprobs": logprobs}
    answer = {**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE}
    body, usage = rewrite(json.dumps(answer).encode(), NAMING, request(**fields), 9)
    Response.model_validate(json.loads(body), strict=False)
    assert usage == (7, 3, 4)
    return final_response(body, streamed=False)


@pytest.mark.parametrize("step", [None, 1, 7])
def test_text_is_told_as_it_comes(step: int | None) -> None:
    events = feed(TEXT, step=step)

    assert [payload["type"].removeprefix("response.") for payload in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [payload["delta"] for payload in events if "delta" in payload] == ["Hé", "llo"]
    assert events[6]["text"] == "Héllo"
    assert events[0]["response"]["status"] == "in_progress"
    assert events[0]["response"]["output"] == []


@pytest.mark.parametrize("step", [None, 5])
def test_calls_are_told_as_they_come(step: int | None) -> None:
    events = feed(CALLS, step=step)
    told = [
        (payload["output_index"], payload["delta"]) for payload in events if payload["type"].endswith("arguments.delta")
    ]

    assert told == [(1, '{"a":'), (1, "1}"), (2, "{"), (2, "}")]
    assert [p["item"]["type"] for p in events if p["type"] == "response.output_item.added"] == [
        "message",
        "function_call",
        "function_call",
    ]
    assert [(p["name"], p["arguments"]) for p in events if p["type"].endswith("arguments.done")] == [
        ("first", '{"a":1}'),
        ("second", "{}"),
    ]


def test_a_stream_ends_with_what_the_whole_answer_is() -> None:
    calls = [
        {"id": "call_first", "type": "function", "function": {"name": "first", "arguments": '{"a":1}'}},
        {"id": "call_second", "type": "function", "function": {"name": "second", "arguments": "{}"}},
    ]
    said = {"content": "Let me see", "tool_calls": calls}

    assert feed(CALLS)[-1]["response"] == whole(said, "tool_calls", stream=True)
    assert feed(TEXT)[-1]["response"] == whole({"content": "Héllo"}, "stop", stream=True)


def test_an_answer_without_a_word_is_an_empty_message() -> None:
    silent = BEGINNING + chunk({"content": ""}, "stop") + END
    ended = feed(silent)[-1]["response"]

    assert ended == whole({"content": ""}, "stop", stream=True)
    assert ended["output"][0]["content"][0]["text"] == ""


def test_calls_alone_make_no_message() -> None:
    calls = [{"id": "call_f", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    stream = BEGINNING + chunk({"tool_calls": [call(0, "{}", "f")]}) + chunk({}, "tool_calls") + END

    assert feed(stream)[-1]["response"] == whole({"content": None, "tool_calls": calls}, "tool_calls", stream=True)
    assert [item["type"] for item in feed(stream)[-1]["response"]["output"]] == ["function_call"]


def test_an_answer_that_is_cut_is_incomplete() -> None:
    cut = BEGINNING + chunk({"content": "He"}) + chunk({"content": ""}, "length") + END
    last = feed(cut)[-1]

    assert last["type"] == "response.incomplete"
    assert last["response"] == whole({"content": "He"}, "length", stream=True)
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["response"]["output"][0]["status"] == "incomplete"


def test_log_probabilities_are_told_when_they_are_included() -> None:
    asked = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    logprobs = {"content": [TOKEN]}
    stream = BEGINNING + chunk({"content": ""}, None, logprobs) + chunk({"content": "éé"}, "stop", logprobs) + END
    events = feed(stream, **asked)
    ended = whole({"content": "éé"}, "stop", {"content": [TOKEN, TOKEN]}, stream=True, **asked)

    assert events[-1]["response"] == ended
    assert ended["output"][0]["content"][0]["logprobs"][1] == {
        **SCORED,
        "top_logprobs": [SCORED, {"token": "e", "logprob": -2.0, "bytes": [101]}],
    }
    assert [len(p["logprobs"]) for p in events if "logprobs" in p] == [2, 2]
    assert not whole({"content": "éé"}, "stop", logprobs)["output"][0]["content"][0]["logprobs"]


def test_what_an_answer_came_to_is_told_in_the_words_of_responses() -> None:
    assert whole({"content": "x"}, "stop")["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 10,
    }


def test_a_stream_that_breaks_off_ends_with_a_failed_response() -> None:
    rewriter = EventRewriter(NAMING, request(stream=True), lambda: 9.5)
    written = rewriter.feed(BEGINNING + chunk({"content": "Hé"})) + rewriter.fail(ServerFault("It broke off."))
    last = read(written)[-1]

    assert last["type"] == "response.failed"
    assert last["response"]["error"] == {"code": "server_error", "message": "It broke off."}
    assert not rewriter.is_done


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (event({**HEAD, "model": "another", "choices": []}), AnswerUnusable),
        (event({"error": {"message": "too long", "code": 400}}), AnswerRefused),
        (chunk({"tool_calls": [call(0, "{}")]}), AnswerUnusable),
        (DONE, AnswerUnusable),
    ],
)
def test_what_is_no_answer_is_not_passed_on(payload: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        EventRewriter(NAMING, request(stream=True), lambda: 9.5).feed(payload)
