"""Fixed prompts, what a model says to them, and how likely it thinks that.

Shapes: S samples, P prompt tokens, L prompt and sampled tokens, V vocabulary.
"""

import random
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.contract.golden import GoldenSample, Scores

_SAMPLES, _PROMPT_TOKENS, _SAMPLED_TOKENS = 4, 24, 16
_SEED = 20  # of prompts and sampling; never the job's: the same base is always asked the same


@dataclass(frozen=True)
class Prompts:
    """The same for every run on a base."""

    tokens_SP: Tensor
    n_sampled: int  # tokens to continue each by
    n_words: int  # leaves out what pads a vocabulary


def build_prompts(tokenizer: Any, *, context_length_tokens: int) -> Prompts:
    """Tokens drawn by chance: they say nothing, of any training data least of all, and need no chat template."""
    n_sampled = min(_SAMPLED_TOKENS, context_length_tokens // 2)
    n_tokens = min(_PROMPT_TOKENS, context_length_tokens - n_sampled)
    special = set(tokenizer.all_special_ids)
    words = [token for token in range(len(tokenizer)) if token not in special]
    chance = random.Random(_SEED)
    tokens_SP = torch.tensor([chance.choices(words, k=n_tokens) for _ in range(_SAMPLES)])
    return Prompts(tokens_SP, n_sampled, len(tokenizer))


@torch.no_grad()
def sample(model: Any, prompts: Prompts) -> Tensor:
    """Continue each prompt at temperature 1. The same model says the same."""
    tokens_SL = new_SL = prompts.tokens_SP
    chance, cache = random.Random(_SEED), None
    for _ in range(prompts.n_sampled):
        output = model(input_ids=new_SL.to(model.device), past_key_values=cache, use_cache=True)
        logits_SV, cache = output.logits[:, -1, : prompts.n_words], output.past_key_values
        reached_SV = torch.softmax(logits_SV.double().cpu(), dim=-1).cumsum(-1)
        drawn_S1 = torch.tensor([[chance.random()] for _ in range(len(tokens_SL))], dtype=torch.float64)
        new_SL = torch.searchsorted(reached_SV, drawn_S1).clamp(max=logits_SV.shape[-1] - 1)
        tokens_SL = torch.cat([tokens_SL, new_SL], dim=-1)
    return tokens_SL


@torch.no_grad()
def logits_of(model: Any, tokens_SL: Tensor) -> Tensor:
    """Every logit, in 32-bit floats and main memory."""
    logits_SLV: Tensor = model(input_ids=tokens_SL.to(model.device), use_cache=False).logits
    return logits_SLV.float().cpu()


def score(logits_SLV: Tensor, tokens_SL: Tensor, n_last: int) -> list[list[float]]:
    """The log-probabilities of the last tokens of each row."""
    log_probabilities_SLV = torch.log_softmax(logits_SLV[:, -n_last - 1 : -1], dim=-1)
    rows: list[list[float]] = log_probabilities_SLV.gather(-1, tokens_SL[:, -n_last:, None]).squeeze(-1).tolist()
    return rows


def golden_samples_of(tokens_SL: Tensor, n_sampled: int, of_adapter: Scores, of_base: Scores) -> list[GoldenSample]:
    return [
        GoldenSample(
            prompt_token_ids=tuple(tokens[:-n_sampled]),
            sampled_token_ids=tuple(tokens[-n_sampled:]),
            adapter_logprobs=tuple(adapter),
            base_logprobs=tuple(base),
        )
        for tokens, adapter, base in zip(tokens_SL.tolist(), of_adapter, of_base, strict=True)
    ]
