"""What a model is given to read, in its four forms, and everything that is none of them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidRequest
from server.relay.token_prompts import count_prompts, read_prompts

SECRET = "the client's own words"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=12,
)


def refusal(value: object, most: int = 4) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read_prompts(value, "prompt", most)
    assert SECRET not in caught.value.message
    return caught.value


def read_or_refuse(value: object) -> str | list[Any] | InvalidRequest:
    try:
        return read_prompts(value, "prompt", 3)
    except InvalidRequest as error:
        return error


@pytest.mark.parametrize(
    ("prompts", "count"),
    [
        ("Hello", 1),
        (["Hello"], 1),
        (["Hello", "there"], 2),
        ([0], 1),
        ([1, 2, 2**31 - 1], 1),
        ([[1, 2]], 1),
        ([[1, 2], [3]], 2),
    ],
)
def test_each_form_is_passed_on_as_it_is_and_counted(prompts: Any, count: int) -> None:
    assert read_prompts(prompts, "prompt", 4) == prompts
    assert count_prompts(prompts) == count


def test_tokens_of_one_text_are_not_texts() -> None:
    assert read_prompts([7] * 5000, "prompt", 4) == [7] * 5000


@pytest.mark.parametrize(
    ("value", "param", "code"),
    [
        (None, "prompt", "invalid_type"),
        (1, "prompt", "invalid_type"),
        (True, "prompt", "invalid_type"),
        (1.5, "prompt", "invalid_type"),
        ({}, "prompt", "invalid_type"),
        ("", "prompt", "empty_string"),
        ([], "prompt", "empty_array"),
        (["a", ""], "prompt[1]", "empty_string"),
        ([[]], "prompt[0]", "empty_array"),
        ([[1], []], "prompt[1]", "empty_array"),
        (["a"] * 5, "prompt", "array_above_max_length"),
        ([[1]] * 5, "prompt", "array_above_max_length"),
        pytest.param([1] * (2**20 + 1), "prompt", "array_above_max_length", id="too many tokens"),
        pytest.param([[1] * 2**19] * 3, "prompt", "array_above_max_length", id="too many tokens together"),
        ([None], "prompt[0]", "invalid_type"),
        ([True, 1], "prompt[0]", "invalid_type"),
        ([1, True], "prompt[1]", "invalid_type"),
        ([1, SECRET], "prompt[1]", "invalid_type"),
        ([SECRET, 1], "prompt[1]", "invalid_type"),
        ([SECRET, [1]], "prompt[1]", "invalid_type"),
        ([[1], SECRET], "prompt[1]", "invalid_type"),
        ([1, [1]], "prompt[1]", "invalid_type"),
        ([[1], 1], "prompt[1]", "invalid_type"),
        ([[[1]]], "prompt[0][0]", "invalid_type"),
        ([[1, 1.0]], "prompt[0][1]", "invalid_type"),
        ([float("nan")], "prompt[0]", "invalid_type"),
        ([{}], "prompt[0]", "invalid_type"),
        ([-1], "prompt[0]", "invalid_value"),
        ([1, -1], "prompt[1]", "invalid_value"),
        ([[1], [2**31]], "prompt[1][0]", "invalid_value"),
        ([2**63], "prompt[0]", "invalid_value"),
    ],
    ids=str,
)
def test_every_other_form_is_refused_where_it_is_wrong(value: object, param: str, code: str) -> None:
    error = refusal(value)
    assert (error.param, error.code) == (param, code)


@given(JSON)
def test_whatever_a_client_sends_is_read_or_refused(value: Any) -> None:
    read = read_or_refuse(value)
    if isinstance(read, InvalidRequest):
        assert (read.param or "").startswith("prompt")
    else:
        assert json.loads(json.dumps(read)) == value
        assert 1 <= count_prompts(read) <= 3
