"""From the engine's stream to OpenAI's: by bytes where nothing can be hidden in them, by parsing everywhere else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from inference.fake_engine import stream_chunks
from server.chat.answer import AnswerRefused, AnswerUnusable, Naming
from server.chat.stream import StreamRewriter
from server.relay.accounts import Usage

NAMING = Naming(asked="gpt-4o-mini", engine="base")
COUNTED = {"include_usage": True, "continuous_usage_stats": True}
BODY = {"model": "base", "messages": [{"role": "user", "content": "Hello"}], "stream_options": COUNTED}
PRIVATE = ["prompt_token_ids", "prompt_text", "token_ids", "stop_reason", "reasoning", "reasoning_content", "metrics"]
SECRET = "what nobody may see"


def chunk(content: str = " word", *, index: int = 0, **changes: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": {"content": content}, "logprobs": None, "finish_reason": None, "token_ids": None}
    event = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "base"}
    return {**event, "choices": [choice], **changes}


def event(payload: dict[str, Any], *, compact: bool = True) -> bytes:
    separators = (",", ":") if compact else (", ", ": ")
    return b"data: " + json.dumps(payload, separators=separators, ensure_ascii=not compact).encode() + b"\n\n"


def payloads(sent: bytes) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in sent.decode().split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def streamed(*events: bytes, wants_usage: bool = False) -> list[Any]:
    rewriter = StreamRewriter(NAMING, wants_usage=wants_usage)
    return payloads(b"".join(rewriter.feed(one) for one in events))


def names(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {name for entry in value.values() for name in names(entry)}
    return {name for entry in value for name in names(entry)} if isinstance(value, list) else set()


def test_a_stream_is_openais_chunk_by_chunk() -> None:
    *chunks, done = streamed(*stream_chunks(BODY))
    assert done == "[DONE]"
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == "base read 1 messages "
    for one in chunks:
        ChatCompletionChunk.model_validate(one, strict=True)
        assert one["model"] == "gpt-4o-mini"
        assert "usage" not in one


def test_with_usage_every_chunk_has_the_field_and_the_last_the_numbers() -> None:
    *chunks, last, _done = streamed(*stream_chunks(BODY), wants_usage=True)
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 5


@pytest.mark.parametrize("wants_usage", [False, True])
@given(content=st.text(), compact=st.booleans(), usage=st.booleans())
def test_a_chunk_passed_on_by_its_bytes_is_the_one_that_parsing_gives(
    content: str, *, compact: bool, usage: bool, wants_usage: bool
) -> None:
    counted = {"usage": {"prompt_tokens": 1, "total_tokens": 3, "completion_tokens": 2}} if usage else {}
    written = event(chunk(content, **counted), compact=compact)
    by_bytes = StreamRewriter(NAMING, wants_usage=wants_usage)
    by_bytes.feed(written)
    assert payloads(by_bytes.feed(written)) == payloads(StreamRewriter(NAMING, wants_usage=wants_usage).feed(written))


def test_the_same_bytes_come_out_wherever_they_were_cut() -> None:
    whole = b"".join(stream_chunks(BODY))
    expected = StreamRewriter(NAMING, wants_usage=True).feed(whole)
    for size in (1, 2, 3, 7, 50, 333):
        rewriter = StreamRewriter(NAMING, wants_usage=True)
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert b"".join(rewriter.feed(piece) for piece in pieces) == expected
    rewriter = StreamRewriter(NAMING, wants_usage=True)
    assert b"".join(rewriter.feed(bytes([byte])) for byte in whole.replace(b"\n", b"\r\n")) == expected


def hidden(place: str, name: str) -> dict[str, Any]:
    payload = chunk()
    target = {"event": payload, "choice": payload["choices"][0], "delta": payload["choices"][0]["delta"]}[place]
    target[name] = SECRET
    return payload


@pytest.mark.parametrize("place", ["event", "choice", "delta"])
@pytest.mark.parametrize("name", [*PRIVATE, "anything_new"])
def test_private_fields_never_pass(place: str, name: str) -> None:
    for compact in (True, False):
        sent = streamed(event(chunk(), compact=compact), event(hidden(place, name), compact=compact))
        assert len(sent) == 2
        assert name not in names(sent)
        assert SECRET not in json.dumps(sent)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"token_ids":null', b'"token_ids":[1, 22]'),
        (b'"choices"', b'"prompt_text":"%s","choices"'),
        (b"}]}\n", b'}],"usage":{"prompt_tokens":1,"total_tokens":1,"completion_tokens":0,"note":"%s"}}\n'),
        (b"}]}\n", b'}],"usage":null}\n'),
        (b"}]}\n", b'}],"metrics":{"a":"%s"}}\n'),
        (b'{"content":" word"}', b'{"content":" word","content":" word"}'),
        (b'{"content":" word"}', b'{"content":" word","reasoning":"%s"}'),
        (b'"index":0', b'"index":0,"stop_reason":"%s"'),
    ],
)
def test_bytes_that_hold_more_than_a_chunk_of_text_lose_it(old: bytes, new: bytes) -> None:
    plain = event(chunk())
    changed = plain.replace(old, new.replace(b"%s", SECRET.encode()))
    assert changed != plain
    first, second = streamed(plain, changed)
    assert first == second


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"model":"base"', b'"model":"other"'),
        (b'"content":" word"', b'"content":" wo\x01rd"'),
        (b'"content":" word"', b'"content":" wo\\xrd"'),
        (b'"content":" word"', b'"content":" wo"rd"'),
        (b'"finish_reason":null', b'"finish_reason":"abort"'),
        (b'"finish_reason":null', b'"finish_reason":"error"'),
        (b'"choices":[', b'"choices":['),  # unchanged, but for its end
        (b"data: {", b"data: ["),
    ],
)
def test_a_stream_that_goes_wrong_in_its_middle_is_not_passed_on(old: bytes, new: bytes) -> None:
    changed = event(chunk()).replace(old, new)
    rewriter = StreamRewriter(NAMING, wants_usage=False)
    rewriter.feed(event(chunk()))
    with pytest.raises(AnswerUnusable):
        rewriter.feed(changed if old != new else changed.replace(b"}]}\n\n", b"}]\n\n"))


def test_another_models_stream_is_not_passed_on() -> None:
    with pytest.raises(AnswerUnusable, match="another model"):
        streamed(*stream_chunks({**BODY, "model": "other"}))


def test_a_chunk_of_another_answer_is_named_as_what_it_is() -> None:
    first, second = streamed(event(chunk()), event(chunk(id="chatcmpl-2", created=7)))
    assert (first["id"], second["id"], second["created"]) == ("chatcmpl-1", "chatcmpl-2", 7)


def test_an_error_in_a_stream_ends_it() -> None:
    with pytest.raises(AnswerRefused) as caught:
        streamed(event(chunk()), b'data: {"error": {"message": "x", "code": 400}}\n\n')
    assert (caught.value.status, json.loads(caught.value.body)["error"]["message"]) == (400, "x")


def test_a_stream_that_ends_without_its_count_is_no_whole_answer() -> None:
    with pytest.raises(AnswerUnusable, match="came to"):
        streamed(event(chunk()), b"data: [DONE]\n\n")


def test_what_an_answer_has_come_to_is_counted_by_the_ids_of_its_tokens() -> None:
    def said(*ids: int, index: int = 0, content: str = " word") -> bytes:
        payload = chunk(content, index=index)
        payload["choices"][0]["token_ids"] = list(ids)
        return event(payload)

    rewriter = StreamRewriter(NAMING, wants_usage=False)
    rewriter.feed(event(chunk("", prompt_token_ids=[5, 6, 7])))
    assert rewriter.so_far() == Usage(3, 0)
    rewriter.feed(said(1) + said(2, 3) + said())
    assert rewriter.so_far() == Usage(3, 3)
    rewriter.feed(said(4, index=1) + said(5, content='a \\"word\\"'))
    assert rewriter.so_far() == Usage(3, 5)


def test_a_chunk_that_holds_but_ids_is_counted_and_not_passed_on() -> None:
    payload = chunk()
    payload["choices"][0] |= {"delta": {}, "token_ids": [1, 2]}
    rewriter = StreamRewriter(NAMING, wants_usage=False)
    rewriter.feed(event(chunk("", prompt_token_ids=[5])))
    assert rewriter.feed(event(payload)) == b""
    assert rewriter.so_far() == Usage(1, 2)
    payload["choices"][0]["finish_reason"] = "tool_calls"
    assert payloads(rewriter.feed(event(payload)))[0]["choices"][0]["finish_reason"] == "tool_calls"


def test_what_an_answer_has_come_to_is_known_at_any_time() -> None:
    def counted(index: int, completion: int) -> bytes:
        usage = {"prompt_tokens": 4, "total_tokens": 4 + completion, "completion_tokens": completion}
        return event(chunk(index=index, usage=usage))

    rewriter = StreamRewriter(NAMING, wants_usage=False)
    assert rewriter.so_far() is None
    rewriter.feed(counted(0, 1))
    assert rewriter.so_far() == Usage(4, 1)
    rewriter.feed(counted(1, 1) + counted(0, 2) + counted(0, 3))
    assert rewriter.so_far() == Usage(4, 4)
    usage = {
        "prompt_tokens": 4,
        "completion_tokens": 9,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 2},
    }
    assert rewriter.feed(event(chunk(choices=[], usage=usage))) == b""
    assert rewriter.so_far() == rewriter.usage == Usage(4, 9, cached_tokens=2)
    assert not rewriter.is_done
    assert rewriter.feed(b"data: [DONE]\n\n") == b"data: [DONE]\n\n"
    assert rewriter.is_done
