"""Take golden samples of an adapter, on the base that will serve it.

Shapes: S samples, P prompt tokens, L prompt and sampled tokens, V vocabulary.
"""

import copy
import math
import random
from collections.abc import Sequence
from typing import Any

import torch
from peft import get_peft_model, set_peft_model_state_dict
from torch import Tensor

from trainer.base_model import copy_adapter, load_base_model
from trainer.contract.examine import ExamineSpec
from trainer.contract.golden import GoldenSample, GoldenSamples, build_golden_samples, gap
from trainer.contract.spec import TrainingSpec
from trainer.failures import LossNotFinite

_SAMPLES, _PROMPT_TOKENS, _SAMPLED_TOKENS = 4, 24, 16
_SEED = 20  # of prompts and sampling; never the job's: the same base is always asked the same


def take_golden_samples(model: Any, tokenizer: Any, spec: TrainingSpec | ExamineSpec, *, step: int) -> GoldenSamples:
    """Sample from base and adapter, which is of that step, at temperature 1. The same adapter gives the same samples.

    Raises:
        LossNotFinite: the adapter's output holds a number that is not finite.
    """
    model.eval()
    is_quantised = getattr(model.get_base_model().config, "quantization_config", None) is not None
    serving = _on_serving_base(model, spec) if is_quantised else model
    n_sampled = min(_SAMPLED_TOKENS, spec.context_length_tokens // 2)
    prompts_SP = build_prompts(tokenizer, n_tokens=min(_PROMPT_TOKENS, spec.context_length_tokens - n_sampled))
    tokens_SL = _sample(serving, torch.tensor(prompts_SP), n_sampled, n_words=len(tokenizer))
    of_adapter = _score(serving, tokens_SL, n_sampled)
    with serving.disable_adapter():
        of_base = _score(serving, tokens_SL, n_sampled)
    if not all(math.isfinite(value) for row in (*of_adapter, *of_base) for value in row):
        raise LossNotFinite("output of the adapter", step)
    samples = [
        GoldenSample(
            prompt_token_ids=tuple(tokens[:-n_sampled]),
            sampled_token_ids=tuple(tokens[-n_sampled:]),
            adapter_logprobs=tuple(adapter),
            base_logprobs=tuple(base),
        )
        for tokens, adapter, base in zip(tokens_SL.tolist(), of_adapter, of_base, strict=True)
    ]
    training_gap = gap(_score(model, tokens_SL, n_sampled), of_adapter) if is_quantised else None
    dtype = str(serving.get_base_model().dtype).removeprefix("torch.")
    return build_golden_samples(samples, dtype=dtype, training_gap=training_gap)


def build_prompts(tokenizer: Any, *, n_tokens: int) -> list[list[int]]:
    """Tokens drawn by chance: they say nothing, of any training data least of all, and need no chat template."""
    special = set(tokenizer.all_special_ids)
    words = [token for token in range(len(tokenizer)) if token not in special]
    chance = random.Random(_SEED)
    return [chance.choices(words, k=n_tokens) for _ in range(_SAMPLES)]


def _on_serving_base(model: Any, spec: TrainingSpec | ExamineSpec) -> Any:
    """The adapter on the base as it is served: a base that was quantised for training is not."""
    base = load_base_model(spec.base_model, model.device.type)
    serving = get_peft_model(base, copy.deepcopy(model.peft_config["default"]), autocast_adapter_dtype=False)
    set_peft_model_state_dict(serving, copy_adapter(model))
    return serving.eval()


@torch.no_grad()
def _sample(model: Any, tokens_SL: Tensor, n_tokens: int, *, n_words: int) -> Tensor:
    """Continue each row; `n_words` leaves out what pads a vocabulary."""
    chance = random.Random(_SEED)
    for _ in range(n_tokens):
        logits_SV = model(input_ids=tokens_SL.to(model.device), use_cache=False).logits[:, -1, :n_words]
        reached_SV = torch.softmax(logits_SV.double().cpu(), dim=-1).cumsum(-1)
        drawn_S1 = torch.tensor([[chance.random()] for _ in range(len(tokens_SL))], dtype=torch.float64)
        next_S1 = torch.searchsorted(reached_SV, drawn_S1).clamp(max=logits_SV.shape[-1] - 1)
        tokens_SL = torch.cat([tokens_SL, next_S1], dim=-1)
    return tokens_SL


@torch.no_grad()
def _score(model: Any, tokens_SL: Tensor, n_last: int) -> Sequence[list[float]]:
    """The log-probabilities of the last tokens of each row."""
    logits_SLV = model(input_ids=tokens_SL.to(model.device), use_cache=False).logits[:, -n_last - 1 : -1]
    targets_SL1 = tokens_SL[:, -n_last:, None]
    log_probabilities_SLV = torch.log_softmax(logits_SLV.float().cpu(), dim=-1)
    rows: list[list[float]] = log_probabilities_SLV.gather(-1, targets_SL1).squeeze(-1).tolist()
    return rows
