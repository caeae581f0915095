"""From the engine's completions to OpenAI's, whole and streamed: nothing private, and every token counted."""

import json
from typing import Any

import orjson
import pytest
from openai.types import Completion

from inference.fake_completions import completion_chunks, whole_completion
from server.completions.answer import rewrite_answer
from server.completions.request import CompletionRequest, read_request
from server.completions.stream import StreamRewriter
from server.relay.accounts import Usage
from server.relay.answers import AnswerRefused, AnswerUnusable, Naming

NAMING = Naming(asked="gpt-3.5-turbo-instruct", engine="base")
PRIVATE = {
    "prompt_token_ids", "token_ids", "stop_reason", "prompt_logprobs", "routed_experts", "kv_transfer_params",
    "metrics", "system_fingerprint", "service_tier",
}  # fmt: skip
SECRET = "what nobody may see"
WORDS = 6  # of each of the fake engine's answers


def request(**fields: Any) -> CompletionRequest:
    return read_request(orjson.dumps({"model": "m", "prompt": "one two", **fields}))


def asked(**fields: Any) -> dict[str, Any]:
    return dict(orjson.loads(request(**fields).body_for("base", "salt")))


def whole(answer: dict[str, Any], *, generates: bool = True) -> tuple[dict[str, Any], Usage]:
    body, usage = rewrite_answer(json.dumps(answer).encode(), NAMING, generates=generates)
    return orjson.loads(body), usage


def payloads(sent: bytes) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in sent.decode().split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def event(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def names(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {name for entry in value.values() for name in names(entry)}
    return {name for entry in value for name in names(entry)} if isinstance(value, list) else set()


def texts(events: list[Any]) -> dict[int, str]:
    found: dict[int, str] = {}
    for one in events:
        for choice in one["choices"]:
            found[choice["index"]] = found.get(choice["index"], "") + choice["text"]
    return found


def check_form(answer: dict[str, Any]) -> None:
    """Hold it against the client's class, but for the nulls that OpenAI sends and the class does not know."""
    known = json.loads(json.dumps(answer))
    for choice in known["choices"]:
        choice["finish_reason"] = choice["finish_reason"] or "stop"
        for name in ("token_logprobs", "top_logprobs"):
            if choice["logprobs"] and choice["logprobs"][name][0] is None:
                del choice["logprobs"][name][0]
    Completion.model_validate(known, strict=True)


@pytest.mark.parametrize(
    "fields", [{}, {"logprobs": 2}, {"prompt": [[1], [2, 3]], "n": 2, "echo": True, "logprobs": 0}]
)
def test_a_whole_answer_is_openais_and_names_the_model_that_was_asked(fields: dict[str, Any]) -> None:
    answer, usage = whole(whole_completion(asked(**fields)))
    check_form(answer)
    assert answer["model"] == NAMING.asked
    assert answer["object"] == "text_completion"
    assert not names(answer) & PRIVATE
    assert answer["usage"]["total_tokens"] == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens == WORDS * len(answer["choices"])


def test_the_log_probability_of_a_prompts_first_token_is_nobodys() -> None:
    answer, _ = whole(whole_completion(asked(echo=True, logprobs=1)))
    logprobs = answer["choices"][0]["logprobs"]
    assert logprobs["token_logprobs"][0] is None
    assert logprobs["top_logprobs"][0] is None
    assert logprobs["tokens"][:2] == ["one", " two"]


def test_a_token_that_was_made_for_nobody_is_not_counted() -> None:
    answer, usage = whole(whole_completion(asked(echo=True, max_tokens=0)), generates=False)
    assert usage == Usage(2, 0)
    assert (answer["usage"]["completion_tokens"], answer["usage"]["total_tokens"]) == (0, 2)
    rewriter = StreamRewriter(NAMING, request(echo=True, max_tokens=0, stream=True))
    first, *others = completion_chunks(asked(echo=True, max_tokens=0, stream=True))
    rewriter.feed(first)
    assert rewriter.so_far() == Usage(2, 0)
    rewriter.feed(b"".join(others))
    assert rewriter.usage == Usage(2, 0)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b'{"error": {"message": "what nobody may see"}}',
        json.dumps(whole_completion({"model": "other", "prompt": "a"})).encode(),
        json.dumps({**whole_completion({"model": "base", "prompt": "a"}), "error": SECRET}).encode(),
        json.dumps(whole_completion({"model": "base", "prompt": "a"})).replace('"stop"', '"abort"').encode(),
        json.dumps(whole_completion({"model": "base", "prompt": "a", "logprobs": 1})).replace("-0.5", "NaN").encode(),
    ],
)
def test_an_answer_of_another_form_or_model_is_not_shown(raw: bytes) -> None:
    with pytest.raises(AnswerUnusable) as caught:
        rewrite_answer(raw, NAMING, generates=True)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("wants_usage", [False, True])
def test_a_stream_says_what_the_whole_answer_says(wants_usage: bool) -> None:
    fields = {"prompt": [[1], [2, 3, 4]], "n": 2, "echo": True, "logprobs": 1}
    streamed = request(**fields, stream=True, stream_options={"include_usage": wants_usage})
    rewriter = StreamRewriter(NAMING, streamed)
    *events, done = payloads(b"".join(map(rewriter.feed, completion_chunks(asked(**fields, stream=True)))))
    answer, usage = whole(whole_completion(asked(**fields)))
    assert done == "[DONE]"
    assert rewriter.is_done
    assert rewriter.usage == rewriter.so_far() == usage
    assert texts(events) == {choice["index"]: choice["text"] for choice in answer["choices"]}
    assert not names(events) & PRIVATE
    for one in events:
        check_form(one)
        assert one["model"] == NAMING.asked
    if wants_usage:
        *parts, last = events
        assert last["choices"] == []
        assert last["usage"] == answer["usage"]
        assert all(part["usage"] is None for part in parts)
    else:
        assert not any("usage" in one for one in events)


def test_the_same_bytes_come_out_wherever_they_were_cut() -> None:
    streamed = request(stream=True, prompt=["é a", "b"])
    written = b"".join(completion_chunks(orjson.loads(streamed.body_for("base", "salt"))))
    expected = StreamRewriter(NAMING, streamed).feed(written)
    for size in (1, 7, 64):
        rewriter = StreamRewriter(NAMING, streamed)
        assert b"".join(rewriter.feed(written[at : at + size]) for at in range(0, len(written), size)) == expected


def test_a_stream_that_is_cut_is_counted_by_what_was_given_on() -> None:
    streamed = request(stream=True, prompt=["a b c", "d"], n=2)
    rewriter = StreamRewriter(NAMING, streamed)
    counts = []
    for chunk in completion_chunks(orjson.loads(streamed.body_for("base", "salt"))):
        rewriter.feed(chunk)
        counts.append(rewriter.so_far())
    assert counts[0] == Usage(3, 1)
    assert counts[WORDS] == Usage(3, WORDS + 1)  # of the same prompt's second choice
    assert counts[2 * WORDS] == Usage(4, 2 * WORDS + 1)
    assert counts[-1] == Usage(4, 4 * WORDS)


def test_nothing_is_counted_before_anything_came() -> None:
    assert StreamRewriter(NAMING, request(stream=True)).so_far() is None


def test_a_stream_without_its_count_or_of_another_model_is_unusable() -> None:
    with pytest.raises(AnswerUnusable):
        StreamRewriter(NAMING, request(stream=True)).feed(b"data: [DONE]\n\n")
    with pytest.raises(AnswerUnusable):
        StreamRewriter(NAMING, request(stream=True)).feed(completion_chunks({"model": "other", "prompt": "a"})[0])
    with pytest.raises(AnswerUnusable):
        StreamRewriter(NAMING, request(stream=True)).feed(b"data: nothing\n\n")


def test_a_refusal_in_a_stream_is_a_refusal() -> None:
    refused = event({"error": {"message": "m", "type": "BadRequestError", "param": None, "code": 400}})
    with pytest.raises(AnswerRefused) as caught:
        StreamRewriter(NAMING, request(stream=True)).feed(refused)
    assert caught.value.status == 400
