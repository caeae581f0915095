"""What the engine reads of the client's own bytes is what the door let through, and nothing that hides in them."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.chat.request import read_request
from server.errors import InvalidRequest

HELLO = [{"role": "user", "content": "Hello"}]
COUNTED = {"stream_options": {"include_usage": True}, "return_token_ids": True}
WITHOUT_EFFECT = {"user": "u", "metadata": {"a": "b"}, "store": False, "prediction": {"cache_salt": "mine"}}

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MESSAGES = st.lists(
    st.one_of(
        st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": TEXT}),
        st.fixed_dictionaries({"role": st.just("user"), "content": st.just([{"type": "text", "text": "x"}])}),
        st.fixed_dictionaries({"role": st.just("assistant"), "content": st.none(), "refusal": TEXT}),
    ),
    min_size=1,
    max_size=3,
)
FIELDS = st.fixed_dictionaries(
    {"messages": MESSAGES},
    optional={
        "temperature": st.sampled_from([0, 0.5, 1, 2]),
        "n": st.sampled_from([1, 3, None]),
        "top_p": st.sampled_from([0, 0.5, 1]),
        "stop": st.one_of(st.none(), st.just("end"), st.just(["a", "b"])),
        "stream": st.booleans(),
        "seed": st.integers(-(2**63), 2**63 - 1),
        "user": st.one_of(st.none(), TEXT),
        "store": st.just(False),
        "prediction": st.dictionaries(TEXT, TEXT, max_size=2),
        "response_format": st.sampled_from([{"type": "text"}, {"type": "json_object"}]),
    },
)


def written(pairs: list[tuple[str, Any]], style: int) -> bytes:
    """A JSON object as one or another client writes it; a key may stand in it twice."""
    escape = style & 1
    parts = []
    for name, value in pairs:
        key = "".join(f"\\u{ord(letter):04x}" for letter in name) if escape else name
        parts.append(f'"{key}":{" " * (style & 2)}{json.dumps(value, ensure_ascii=bool(style & 4))}')
    return ("{" + ",\n ".join(parts) + "}" + "\r\n\t " * (style & 8)).encode()


@given(fields=FIELDS, first=FIELDS, style=st.integers(0, 15), model=st.sampled_from(["m", "engine-name"]))
def test_the_engines_parser_reads_what_the_door_let_through(
    fields: dict[str, Any], first: dict[str, Any], style: int, model: str
) -> None:
    pairs = [*first.items(), ("model", "other"), *fields.items(), ("model", model)]
    request = read_request(written(pairs, style))
    added = {"model": "engine-name", "cache_salt": "s1:x", **(COUNTED if request.stream else {})}
    assert json.loads(request.body_for("engine-name", "s1:x")) == {**request.fields, **added}
    assert request.model == model


def test_a_request_without_anything_to_change_is_forwarded_in_its_own_bytes() -> None:
    raw = b'{ "messages" : [{"role":"user","content":"\\u0048\xc3\xa9"}],\n "seed":1,"model": "m" } \n'
    assert read_request(raw).body_for("m", "s1:x") == raw.rstrip()[:-1] + b',"cache_salt":"s1:x"}'


@pytest.mark.parametrize(("n", "kib", "by_ids"), [(1, 1, True), (1, 60, True), (1, 70, False), (8, 10, False)])
def test_the_ids_of_a_long_prompt_are_not_asked_for_to_be_counted(n: int, kib: int, *, by_ids: bool) -> None:
    messages = [{"role": "user", "content": "x" * kib * 1024}]
    raw = orjson.dumps({"model": "m", "messages": messages, "stream": True, "n": n})
    sent = json.loads(read_request(raw).body_for("m", "s1:x"))
    assert sent["stream_options"].get("continuous_usage_stats", False) is not by_ids
    assert sent.get("return_token_ids", False) is by_ids


@pytest.mark.parametrize("name", sorted(WITHOUT_EFFECT))
def test_a_field_without_effect_does_not_reach_the_engine(name: str) -> None:
    raw = orjson.dumps({"model": "m", "messages": HELLO, name: WITHOUT_EFFECT[name]})
    assert json.loads(read_request(raw).body_for("m", "s1:x")).keys() == {"model", "messages", "cache_salt"}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"m","messages":[],"cache_salt":"a"}',
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"c\\u0061che_salt":"a"}',
        b'{"cache_salt":"a","model":"m","messages":[{"role":"user","content":"x"}],"cache_salt":null}',
        b'{"model":"m","messages":[{"role":"user","content":"x"}]}{"cache_salt":"a"}',
        b'{"model":"m","messages":[{"role":"user","content":"x"}]},"cache_salt":"a"}',
        b'\xef\xbb\xbf{"model":"m","messages":[{"role":"user","content":"x"}]}',
        '{"model":"m","messages":[{"role":"user","content":"x"}]}'.encode("utf-16-le"),
        b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"seed":' + b"9" * 5000 + b"}",
    ],
)
def test_what_two_parsers_could_read_differently_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_request(raw)
