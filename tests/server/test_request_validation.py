"""Whatever JSON a client sends, the answer is the job or a 400 that names something; never a fault."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from server.fine_tuning.schemas import CreateFineTuningJobRequest
from server.request_validation import describe

WORDS = st.sampled_from(
    [*CreateFineTuningJobRequest.model_fields, "n_epochs", "batch_size", "type", "supervised", "auto"]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80) | WORDS
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=5)
)


@given(st.dictionaries(WORDS, JSON, max_size=6))
def test_every_finding_is_described(document: dict[str, Any]) -> None:
    try:
        CreateFineTuningJobRequest.model_validate({"model": "m", "training_file": "f"} | document)
    except ValidationError as error:
        described = describe([{**finding, "loc": ("body", *finding["loc"])} for finding in error.errors()])
        assert described.status == 400
        assert described.code
        assert described.param
        named = described.param.split(".")[0].split("[")[0] in described.message
        assert named or described.message.startswith("Invalid value: '")  # OpenAI names the field of a word in `param`


@pytest.mark.parametrize(
    ("loc", "param"),
    [
        (("body", "seed"), "seed"),
        (("query", "limit"), "limit"),
        (("body", "hyperparameters", "n_epochs", "int"), "hyperparameters.n_epochs"),
        (("body", "integrations", 0, "type"), "integrations[0].type"),
        (("body",), None),
    ],
)
def test_a_place_is_named_as_openai_does(loc: tuple[str | int, ...], param: str | None) -> None:
    assert describe([{"type": "extra_forbidden", "loc": loc, "input": 1}]).param == param
