"""Completions by the real engine, through the relay: every form of a prompt, whole and streamed, with its counts."""

import threading
from collections.abc import Callable
from typing import Any

import openai
import pytest
from transformers import AutoTokenizer

from inference.engine import AdapterRef
from tests.engine.conftest import BASE, BASE_NAME
from tests.relay_server import RelayServer

TEXT = "Hello there"


def complete(client: openai.OpenAI, model: str, prompt: Any = TEXT, **options: Any) -> openai.types.Completion:
    """Without validation: the client's class does not know the null of a prompt's first token."""
    loose = client.with_options(_extra_kwargs={"_strict_response_validation": False})
    return loose.completions.create(model=model, prompt=prompt, **{"temperature": 0, "max_tokens": 8, **options})


def streamed(client: openai.OpenAI, model: str, **options: Any) -> tuple[dict[int, str], Any]:
    texts: dict[int, str] = {}
    usage = None
    for chunk in complete(client, model, stream=True, stream_options={"include_usage": True}, **options):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
    return texts, usage


@pytest.fixture
def models(new_model: Callable[[int], AdapterRef]) -> list[str]:
    return [BASE_NAME, new_model(1).name]


def test_whole_and_streamed_completions_are_the_same_of_the_base_and_of_an_adapter(
    client: openai.OpenAI, models: list[str]
) -> None:
    said = []
    for model in models:
        for options in ({}, {"prompt": [TEXT, "Once upon"], "echo": True}, {"stop": ["re"]}):
            whole = complete(client, model, **options)
            texts, usage = streamed(client, model, **options)
            assert texts == {choice.index: choice.text for choice in whole.choices}
            assert usage == whole.usage
            assert whole.model == model
            said.append(whole.choices[0].text)
    assert said[0] != said[3]


def test_tokens_are_the_text_that_they_stand_for(client: openai.OpenAI) -> None:
    tokens = AutoTokenizer.from_pretrained(BASE)(TEXT)["input_ids"]
    of_text = complete(client, BASE_NAME)
    assert complete(client, BASE_NAME, tokens).choices[0].text == of_text.choices[0].text
    several = complete(client, BASE_NAME, [tokens, tokens[:2]], n=2)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    assert several.choices[0].text == of_text.choices[0].text
    assert several.usage is not None
    assert several.usage.prompt_tokens == len(tokens) + 2


def test_an_echo_scores_the_prompt_without_writing_and_beside_other_requests(
    service: RelayServer, client: openai.OpenAI, models: list[str]
) -> None:
    """Log-probabilities of prompts were what an engine on a CPU died of, beside requests with adapters."""
    alone = [complete(client, model, echo=True, logprobs=2, max_tokens=0) for model in models]
    others = [threading.Thread(target=_talk, args=(service, model)) for model in models]
    for other in others:
        other.start()
    beside = [complete(client, model, [TEXT] * 3, echo=True, logprobs=2, max_tokens=0) for model in models]
    for other in others:
        other.join()
    for one, three in zip(alone, beside, strict=True):
        expected = one.choices[0].logprobs
        assert expected is not None
        assert expected.tokens is not None
        assert "".join(expected.tokens) == one.choices[0].text == TEXT
        assert expected.token_logprobs is not None
        assert expected.token_logprobs[0] is None
        assert one.usage is not None
        assert (one.usage.prompt_tokens, one.usage.completion_tokens) == (len(expected.tokens), 0)
        for choice in three.choices:
            assert choice.logprobs is not None
            assert choice.logprobs.token_logprobs is not None
            assert choice.logprobs.token_logprobs[1:] == pytest.approx(expected.token_logprobs[1:], abs=1e-3)


def test_as_many_likeliest_tokens_are_given_as_are_asked_for(client: openai.OpenAI) -> None:
    for n in (0, 5):
        logprobs = complete(client, BASE_NAME, logprobs=n, max_tokens=2).choices[0].logprobs
        assert logprobs is not None
        assert logprobs.top_logprobs is not None
        assert [len(likeliest) for likeliest in logprobs.top_logprobs] == [max(n, 1)] * 2


@pytest.mark.parametrize(
    ("options", "param", "code"),
    [
        ({"prompt": [5, 2048]}, "prompt", "invalid_value"),
        ({"prompt": [[5], [2**31 - 1]], "echo": True, "logprobs": 1}, "prompt", "invalid_value"),
        ({"prompt": [5] * 1025}, "prompt", "context_length_exceeded"),
        ({"prompt": "word " * 5000, "stream": True}, "prompt", "context_length_exceeded"),
        ({"logit_bias": {"999999": 1}}, "logit_bias", "invalid_value"),
    ],
)
def test_what_the_model_cannot_read_is_refused_and_the_engine_lives(
    client: openai.OpenAI, options: dict[str, Any], param: str, code: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, BASE_NAME, **options)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert complete(client, BASE_NAME, max_tokens=1).choices[0].text


def test_a_bias_a_seed_and_penalties_reach_the_engine(client: openai.OpenAI) -> None:
    one = complete(client, BASE_NAME, logit_bias={"865": 100}, max_tokens=2).choices[0].text
    assert one == "HelloHello"
    sampled = [complete(client, BASE_NAME, temperature=2, seed=seed).choices[0].text for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]
    plain = complete(client, BASE_NAME, max_tokens=4).choices[0].text
    assert complete(client, BASE_NAME, max_tokens=4, frequency_penalty=2).choices[0].text != plain


def _talk(service: RelayServer, model: str) -> None:
    with service.client() as client:
        complete(client, model, "Tell me a story", max_tokens=40)
