"""Requests for embeddings and the engine's answers to them, field by field."""

import base64
import json
import struct
from typing import Any

import orjson
import pytest
from openai.types import CreateEmbeddingResponse
from openai.types.embedding_create_params import EmbeddingCreateParams

from inference.fake_embeddings import embeddings
from server.embeddings.answer import rewrite_answer
from server.embeddings.request import read_request
from server.errors import InvalidRequest
from server.relay.accounts import Usage
from server.relay.answers import AnswerUnusable, Naming

NAMING = Naming(asked="text-embedding-3-small", engine="base")
SECRET = "the client's own words"
PRIVATE = [
    "add_special_tokens", "cache_salt", "embed_dtype", "endianness", "messages", "metadata", "mm_processor_kwargs",
    "padding", "priority", "request_id", "stream", "truncate_prompt_tokens", "use_activation",
]  # fmt: skip


def body(**fields: Any) -> bytes:
    return orjson.dumps({"model": "m", "input": SECRET, **fields})


def refusal(raw: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read_request(raw)
    assert SECRET not in caught.value.message
    return caught.value


def rewritten(answer: dict[str, Any]) -> tuple[dict[str, Any], Usage]:
    raw, usage = rewrite_answer(json.dumps(answer).encode(), NAMING)
    return orjson.loads(raw), usage


def test_what_the_engine_carries_is_passed_on_and_nothing_else() -> None:
    fields = {"input": [[1, 2]], "dimensions": 8, "encoding_format": "base64"}
    forwarded = read_request(body(**fields, user="somebody")).body_for("engine-name", "s1:salt")
    assert orjson.loads(forwarded) == {**fields, "model": "engine-name", "cache_salt": "s1:salt"}


def test_every_openai_field_is_decided() -> None:
    for name in EmbeddingCreateParams.__annotations__:
        value = {"dimensions": 1, "encoding_format": "float", "input": "a", "model": "m", "user": "u"}[name]
        read_request(body(**{name: value}))


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"input": None}, "input", "missing_required_parameter"),
        ({"input": ""}, "input", "empty_string"),
        ({"input": []}, "input", "empty_array"),
        ({"input": ["a"] * 2049}, "input", "array_above_max_length"),
        ({"input": [[1]] * 2049}, "input", "array_above_max_length"),
        ({"input": ["a", None]}, "input[1]", "invalid_type"),
        ({"input": [-1]}, "input[0]", "invalid_value"),
        ({"input": [True]}, "input[0]", "invalid_type"),
        ({"input": [{"role": "user", "content": SECRET}]}, "input[0]", "invalid_type"),
        ({"encoding_format": "bytes"}, "encoding_format", "invalid_value"),
        ({"encoding_format": 1}, "encoding_format", "invalid_type"),
        ({"dimensions": 0}, "dimensions", "integer_below_min_value"),
        ({"dimensions": True}, "dimensions", "invalid_type"),
        ({"dimensions": 10**9}, "dimensions", "integer_above_max_value"),
        ({"user": 1}, "user", "invalid_type"),
        ({"model": 1}, "model", "invalid_type"),
        *(({name: 1}, name, "unknown_parameter") for name in PRIVATE),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_by_name(fields: dict[str, Any], param: str, code: str) -> None:
    error = refusal(body(**fields))
    assert (error.param, error.code) == (param, code)


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"model": "m", "input": [NaN]}', b'{"model": "m", "input": "\\ud800"}'])
def test_what_is_no_json_object_is_said_not_to_be(raw: bytes) -> None:
    assert "We could not parse the JSON body of your request" in refusal(raw).message


def test_an_answer_is_openais_and_names_the_model_that_was_asked() -> None:
    answer, usage = rewritten(embeddings({"model": "base", "input": ["a b", "c"]}))
    CreateEmbeddingResponse.model_validate(answer, strict=True)
    assert answer.keys() == {"object", "data", "model", "usage"}
    assert answer["model"] == NAMING.asked
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert usage == Usage(3, 0)
    assert [one["index"] for one in answer["data"]] == [0, 1]


def test_base64_holds_the_same_numbers() -> None:
    floats, _ = rewritten(embeddings({"model": "base", "input": "a b c"}))
    packed, _ = rewritten(embeddings({"model": "base", "input": "a b c", "encoding_format": "base64"}))
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == floats["data"][0]["embedding"]


@pytest.mark.parametrize("vector", [[0.5, None], None, {}, 1, True])
def test_what_is_no_vector_is_not_shown(vector: object) -> None:
    answer = embeddings({"model": "base", "input": "a"})
    answer["data"][0]["embedding"] = vector
    with pytest.raises(AnswerUnusable):
        rewritten(answer)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        embeddings({"model": "other", "input": "a"}),
        {**embeddings({"model": "base", "input": "a"}), "error": SECRET},
    ],
)
def test_an_answer_of_another_form_or_model_is_not_shown(answer: dict[str, Any]) -> None:
    with pytest.raises(AnswerUnusable) as caught:
        rewritten(answer)
    assert SECRET not in str(caught.value)
