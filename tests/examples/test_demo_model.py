"""The committed demo base model: small, clean, with a chat template that says what trainer and engine need."""

import json
from typing import Any

import pytest
from conftest import EXAMPLES
from make_demo_model.tokenizer import train_tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

DIRECTORY = EXAMPLES / "demo_model"
TOOL = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
USER = {"role": "user", "content": "What time is it?"}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(DIRECTORY)


def rendered(tokenizer: PreTrainedTokenizerFast, *messages: dict[str, Any], **options: Any) -> str:
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, **options))


def assistant(**fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, **fields}


def call(arguments: Any) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": arguments}}


def test_it_has_less_than_ten_megabytes() -> None:
    assert sum(path.stat().st_size for path in DIRECTORY.iterdir()) < 10_000_000


def test_it_holds_weights_as_safetensors_texts_and_nothing_else() -> None:
    assert {path.name for path in DIRECTORY.iterdir()} == {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_it_runs_no_code_of_its_own_and_names_no_path() -> None:
    for path in DIRECTORY.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert "auto_map" not in text
        assert "_name_or_path" not in text
        if path.name != "tokenizer.json":
            assert not any(str(value).startswith("/") for value in json.loads(text).values())


def test_its_tokenizer_and_template_are_the_recipes(tokenizer: PreTrainedTokenizerFast) -> None:
    recipe = train_tokenizer(0)
    assert recipe.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert recipe.chat_template == tokenizer.chat_template


def test_the_end_of_a_turn_is_not_padding(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token == "<|pad|>"
    config = json.loads((DIRECTORY / "config.json").read_text())
    assert (config["eos_token_id"], config["pad_token_id"]) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


def test_any_text_survives_the_tokenizer(tokenizer: PreTrainedTokenizerFast) -> None:
    text = 'Zürich 12,345 €\n\t{"a": [1, 2]} 你好 <b> don\'t'
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_a_conversation_reads_as_chatml(tokenizer: PreTrainedTokenizerFast) -> None:
    system = {"role": "system", "content": "Be brief."}
    assert rendered(tokenizer, system, USER, assistant(content="Noon.")) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat time is it?<|im_end|>\n"
        "<|im_start|>assistant\nNoon.<|im_end|>\n"
    )


def test_the_prompt_of_an_answer_is_the_beginning_of_the_conversation_with_it(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    prompt = rendered(tokenizer, USER, add_generation_prompt=True)
    assert prompt.endswith("<|im_start|>assistant\n")
    assert rendered(tokenizer, USER, assistant(content="Noon.")) == prompt + "Noon.<|im_end|>\n"


def test_the_marked_part_is_the_answer_and_its_end_of_turn(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = tokenizer.apply_chat_template(
        [USER, assistant(content="Noon."), USER, assistant(tool_calls=[call("{}")])],
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    marked = [token for token, mine in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mine]
    assert tokenizer.decode(marked) == (
        'Noon.<|im_end|><tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call><|im_end|>'
    )


def test_tools_are_shown_in_the_system_message(tokenizer: PreTrainedTokenizerFast) -> None:
    text = rendered(tokenizer, {"role": "system", "content": "Be brief."}, USER, tools=[TOOL])
    assert text.startswith(f"<|im_start|>system\nBe brief.\n\n# Tools\n<tools>\n{json.dumps(TOOL)}\n</tools>\n")
    assert text.count("<|im_start|>system") == 1


@pytest.mark.parametrize("arguments", ['{"zone": "UTC"}', {"zone": "UTC"}])
def test_arguments_of_a_call_may_be_text_or_an_object(tokenizer: PreTrainedTokenizerFast, arguments: Any) -> None:
    assert '<tool_call>\n{"name": "get_time", "arguments": {"zone": "UTC"}}\n</tool_call><|im_end|>' in rendered(
        tokenizer, USER, assistant(tool_calls=[call(arguments)])
    )


def test_a_tools_answer_comes_back_as_the_users(tokenizer: PreTrainedTokenizerFast) -> None:
    answer = {"role": "tool", "tool_call_id": "call_1", "content": "12:00"}
    assert rendered(tokenizer, USER, assistant(tool_calls=[call("{}")]), answer).endswith(
        "<|im_start|>user\n<tool_response>\n12:00\n</tool_response><|im_end|>\n"
    )


def test_content_may_come_in_parts_or_be_null(tokenizer: PreTrainedTokenizerFast) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert rendered(tokenizer, {"role": "user", "content": parts}) == "<|im_start|>user\none\ntwo<|im_end|>\n"
    assert rendered(tokenizer, assistant()) == "<|im_start|>assistant\n<|im_end|>\n"


def test_developer_messages_are_system_messages_and_leading_ones_are_joined(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    leading = [{"role": "system", "content": "A"}, {"role": "developer", "content": "B"}]
    late = {"role": "developer", "content": "C"}
    assert rendered(tokenizer, *leading, USER, late) == (
        "<|im_start|>system\nA\n\nB<|im_end|>\n<|im_start|>user\nWhat time is it?<|im_end|>\n"
        "<|im_start|>system\nC<|im_end|>\n"
    )
