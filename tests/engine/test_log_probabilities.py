"""The engine says with an adapter what the trainer's library says with it."""

from collections.abc import Callable
from typing import Any

import openai
import torch
from peft import PeftModel
from transformers import AutoTokenizer

from inference.engine import AdapterRef
from tests.engine.adapters import load_base
from tests.engine.conftest import BASE, BASE_NAME, EngineProcess
from tests.engine.scoring import ask_engine, score_in_engine
from tests.relay_server import RelayServer

_QUESTIONS = ["Hello! Who are you?", "Tell me about the weather.", "Write one sentence.", "Why?"]


def test_log_probabilities_of_sampled_answers_agree_with_peft(
    service: RelayServer,
    engine_process: EngineProcess,
    client: openai.OpenAI,
    new_model: Callable[[int], AdapterRef],
) -> None:
    """Teacher-forced over the engine's own *sampled* answers: greedy ones are so certain that any precision passes."""
    adapter = new_model(1)
    service.run(service.engine.ensure_adapter(adapter))
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    model = PeftModel.from_pretrained(load_base(BASE), adapter.directory).eval()
    to_peft, to_base, tokens = 0.0, 0.0, 0
    for seed, question in enumerate(_QUESTIONS):
        prompt = _render(tokenizer, question)
        answer = _sample(engine_process, adapter.name, prompt, seed)
        n = len(answer) - len(prompt)
        of_engine = score_in_engine(engine_process, adapter.name, answer)[-n:]
        of_peft = _score(model, answer)[-n:]
        with model.disable_adapter():
            of_base = _score(model, answer)[-n:]
        to_peft += sum(abs(a - b) for a, b in zip(of_engine, of_peft, strict=True))
        to_base += sum(abs(a - b) for a, b in zip(of_engine, of_base, strict=True))
        tokens += n
    print(f"{tokens} tokens: to PEFT {to_peft / tokens:.5f}, to the base {to_base / tokens:.5f}")  # noqa: T201
    assert tokens >= 64
    assert to_peft / tokens <= 0.02
    assert to_base >= 10 * to_peft


def test_the_base_model_answers_as_the_base_model(engine_process: EngineProcess) -> None:
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    prompt = _render(tokenizer, _QUESTIONS[0])
    answer = _sample(engine_process, BASE_NAME, prompt, seed=1)
    n = len(answer) - len(prompt)
    of_engine = score_in_engine(engine_process, BASE_NAME, answer)[-n:]
    of_transformers = _score(load_base(BASE).eval(), answer)[-n:]
    assert sum(abs(a - b) for a, b in zip(of_engine, of_transformers, strict=True)) / n <= 0.02


def _render(tokenizer: Any, question: str) -> list[int]:
    messages = [{"role": "user", "content": question}]
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    return list(rendered["input_ids"])


def _sample(engine: EngineProcess, model: str, prompt: list[int], seed: int) -> list[int]:
    body = {"model": model, "prompt": prompt, "max_tokens": 48, "temperature": 1.2, "seed": seed, "ignore_eos": True}
    choice = ask_engine(engine, {**body, "return_token_ids": True})["choices"][0]
    return [*prompt, *choice["token_ids"]]


@torch.no_grad()
def _score(model: Any, tokens: list[int]) -> list[float]:
    logits = model(input_ids=torch.tensor([tokens])).logits[0, :-1].float()
    chosen = torch.tensor(tokens[1:]).unsqueeze(-1)
    return [float(value) for value in torch.log_softmax(logits, dim=-1).gather(-1, chosen).squeeze(-1)]
