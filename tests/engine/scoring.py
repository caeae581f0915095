"""What a real engine gives to the tokens of a text, and what it is asked for that."""

from typing import Any

import httpx

from tests.engine.conftest import EngineProcess
from trainer.contract.golden import Comparison, GoldenSamples, compare


def score_in_engine(engine: EngineProcess, model: str, tokens: list[int]) -> list[float]:
    body = {"model": model, "prompt": tokens, "max_tokens": 1, "prompt_logprobs": 0}
    scored = ask_engine(engine, body)["choices"][0]["prompt_logprobs"]
    return [scored[i][str(tokens[i])]["logprob"] for i in range(1, len(tokens))]


def compare_in_engine(engine: EngineProcess, model: str, golden: GoldenSamples) -> Comparison:
    measured = []
    for sample in golden.samples:
        tokens = [*sample.prompt_token_ids, *sample.sampled_token_ids]
        measured.append(score_in_engine(engine, model, tokens)[-len(sample.sampled_token_ids) :])
    return compare(golden, measured)


def ask_engine(engine: EngineProcess, body: dict[str, Any]) -> Any:
    transport = httpx.HTTPTransport(uds=str(engine.command.socket))
    with httpx.Client(transport=transport, base_url="http://engine", timeout=120) as http:
        return http.post("/v1/completions", json=body).raise_for_status().json()
