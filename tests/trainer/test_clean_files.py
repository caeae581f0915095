"""Ten files in the styles that are published: each is read in its format, and nothing is wrong with it."""

import json
from typing import Any

import pytest

from trainer.contract.examples import format_of, read_file
from trainer.contract.faults import find_faults
from trainer.contract.formats.names import SUPERVISED, FileFormat

CITIES = ["Oslo", "Rome", "Lima", "Bern", "Kyiv", "Doha", "Baku", "Riga", "Male", "Lomé", "Suva", "Apia"]


def openai_docs(city: str) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "system", "content": "Marv is a factual chatbot that is also sarcastic."},
            {"role": "user", "content": f"What's the capital with the letters {city[::-1]}?"},
            {"role": "assistant", "content": f"{city}, as if everyone doesn't know that already.", "weight": 0},
            {"role": "user", "content": "Be nicer."},
            {"role": "assistant", "content": f"It is {city}.", "weight": 1},
        ]
    }


def tool_calling(city: str) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "The city and country, eg. San Francisco, USA"},
            "format": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["location", "format"],
    }
    call = {"name": "get_current_weather", "arguments": json.dumps({"location": city, "format": "celsius"})}
    return {
        "messages": [
            {"role": "user", "content": f"What is the weather in {city}?"},
            {"role": "assistant", "tool_calls": [{"id": "call_id", "type": "function", "function": call}]},
            {"role": "tool", "tool_call_id": "call_id", "content": "21.0"},
            {"role": "assistant", "content": f"It is 21 degrees celsius in {city}"},
        ],
        "parallel_tool_calls": False,
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "get_current_weather",
                    "description": "Get the current weather",
                    "parameters": parameters,
                },
            }
        ],
    }


def dolly_as_pairs(city: str) -> dict[str, Any]:
    return {"prompt": f"Where is {city}?\n\n###\n\n", "completion": f" On a map of {city}. END", "category": "open_qa"}


def alpaca(city: str) -> dict[str, Any]:
    text = f"Below is an instruction. ### Response: {city}"
    return {"instruction": "Name the city.", "input": city if city > "M" else "", "output": city, "text": text}


def sharegpt(city: str) -> dict[str, Any]:
    return {
        "id": f"identity_{city}",
        "conversations": [
            {"from": "human", "value": f"Do you know {city}?", "markdown": None, "text": None},
            {"from": "gpt", "value": "Yes.\n\n```python\nprint('yes')\n```"},
            {"from": "human", "value": "Sure?"},
            {"from": "gpt", "value": f"I am sure of {city}."},
        ],
    }


def anthropic(city: str) -> dict[str, Any]:
    use = {"type": "tool_use", "id": f"toolu_{city}", "name": "get_weather", "input": {"location": city}}
    result = {
        "type": "tool_result",
        "tool_use_id": f"toolu_{city}",
        "content": [{"type": "text", "text": "15 degrees"}],
    }
    return {
        "system": "You are a helpful assistant.",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": f"What is the weather like in {city}?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "I will look."}, use]},
            {"role": "user", "content": [result]},
            {"role": "assistant", "content": f"15 degrees in {city}."},
        ],
        "tools": [{"name": "get_weather", "description": "Get the weather", "input_schema": {"type": "object"}}],
    }


def ultrafeedback(city: str) -> dict[str, Any]:
    asked = {"role": "user", "content": f"Tell me of {city}."}
    chosen = [asked, {"role": "assistant", "content": f"{city} is a city."}]
    return {
        "prompt": asked["content"],
        "prompt_id": "f0e37e9f7800261167ce91143f98f511f768847236f133f2d0aed60b444ebe57",
        "chosen": chosen,
        "rejected": [asked, {"role": "assistant", "content": ""}],
        "messages": chosen,
        "score_chosen": 8.5,
        "score_rejected": 2.0,
    }


def orca_dpo(city: str) -> dict[str, Any]:
    return {"system": "", "question": f"Is {city} large?", "chosen": "It depends.", "rejected": "Yes."}


def kto(city: str) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": f"Which city is {city}?"}],
        "completion": [{"role": "assistant", "content": city}],
        "label": city < "M",
    }


def plain_text(city: str) -> dict[str, Any]:
    return {"text": f"{city} is a city.\n\nIts name has {len(city)} letters.", "meta": {"source": "made"}}


FILES = {
    openai_docs: FileFormat.CHAT,
    tool_calling: FileFormat.CHAT,
    dolly_as_pairs: FileFormat.PROMPT_COMPLETION,
    alpaca: FileFormat.ALPACA,
    sharegpt: FileFormat.SHAREGPT,
    anthropic: FileFormat.ANTHROPIC,
    ultrafeedback: FileFormat.PREFERENCE,
    orca_dpo: FileFormat.PREFERENCE,
    kto: FileFormat.KTO,
    plain_text: FileFormat.TEXT,
}


@pytest.mark.parametrize("make_row", FILES, ids=lambda make_row: make_row.__name__)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_clean_file_raises_no_error(make_row: Any, ascii_only: bool) -> None:
    data = b"".join(json.dumps(make_row(city), ensure_ascii=ascii_only).encode() + b"\n" for city in CITIES)
    expected = FILES[make_row]
    found = find_faults([data], 10, method=None)
    assert (found.faults, found.format, found.n_examples) == ([], expected, len(CITIES))
    assert format_of([data]) == expected
    assert [example.line for example in read_file([data])] == list(range(1, len(CITIES) + 1))
    assert find_faults([data], 10).n_faults == (expected not in SUPERVISED)
