import pytest

from server.errors import InvalidRequest
from server.models.names import FineTunedModelName, new_model_name, normalise_suffix, parse_model_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            "ft:gpt-4o-mini-2024-07-18:personal::Ajo5kvNY",
            FineTunedModelName("gpt-4o-mini-2024-07-18", "personal", "", "Ajo5kvNY"),
        ),
        (
            "ft:gpt-4o-mini-2024-07-18:personal:pinolo-mutate-llm:9uJPavMj:ckpt-step-200",
            FineTunedModelName("gpt-4o-mini-2024-07-18", "personal", "pinolo-mutate-llm", "9uJPavMj", 200),
        ),
        (
            "ft:Qwen/Qwen2.5-0.5B-Instruct:acme:a_b:00000000",
            FineTunedModelName("Qwen/Qwen2.5-0.5B-Instruct", "acme", "a_b", "00000000"),
        ),
    ],
)
def test_a_name_is_taken_apart_and_put_together(text: str, name: FineTunedModelName) -> None:
    assert parse_model_name(text) == name
    assert str(name) == text


@pytest.mark.parametrize(
    "text",
    [
        "gpt-4o-mini",
        "ft:",
        "ft:gpt:personal::short",
        "ft:gpt:personal::Ajo5kvNY9",
        "ft::personal::Ajo5kvNY",
        "ft:gpt:personal:Ajo5kvNY",
        "ft:gpt:personal::Ajo5kvNY:",
        "ft:gpt:personal::Ajo5kvNY:ckpt-step-0",
        "ft:gpt:personal::Ajo5kvNY:ckpt-step-x",
        "ft:gpt:personal::Ajo5kvNY:ckpt-step-1:more",
        "FT:gpt:personal::Ajo5kvNY",
    ],
)
def test_anything_else_is_no_fine_tuned_models_name(text: str) -> None:
    assert parse_model_name(text) is None


def test_two_names_made_alike_differ() -> None:
    assert new_model_name("base", "personal", "x") != new_model_name("base", "personal", "x")


@pytest.mark.parametrize(
    ("suffix", "normalised"),
    [
        ("My Model!", "my-model-"),
        ("recipe-ner", "recipe-ner"),
        ("custom_suffix", "custom_suffix"),
        ("a:b/c", "a-b-c"),
        ("Größe 2", "gr-e-2"),
        ("x" * 64, "x" * 64),
    ],
)
def test_a_suffix_is_made_fit_for_a_name(suffix: str, normalised: str) -> None:
    assert normalise_suffix(suffix) == normalised


def test_a_suffix_of_65_characters_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="maximum length 64, but got a string with length 65") as refused:
        normalise_suffix("x" * 65)
    assert (refused.value.param, refused.value.code) == ("suffix", "string_above_max_length")


@pytest.mark.parametrize("suffix", ["", "!!!", "-", "模型"])
def test_a_suffix_of_which_nothing_remains_is_refused(suffix: str) -> None:
    with pytest.raises(InvalidRequest, match="at least one letter a-z or digit 0-9") as refused:
        normalise_suffix(suffix)
    assert refused.value.param == "suffix"
