"""Pre-training of the demo model: a fixed number of steps on generated conversations, on one CPU thread."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from make_demo_model.conversations import Conversation, conversation
from make_demo_model.first_weights import lay_copying_circuit
from make_demo_model.tokenizer import CONTEXT_LENGTH


@dataclass(frozen=True)
class Phase:
    """A stretch of training with rows of one length."""

    steps: int
    rows: int
    row_tokens: int
    repeating_share: float  # of the rows; the others hold conversations


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights."""

    seed: int = 0
    phases: tuple[Phase, ...] = (Phase(820, 8, 128, 0.05), Phase(80, 4, 256, 0.0), Phase(10, 2, 1024, 0.0))
    matrix_learning_rate: float = 0.01  # Muon: all matrices but the embedding
    other_learning_rate: float = 4e-3  # AdamW: embedding and norms
    warmup_steps: int = 20
    decay_share: float = 0.6  # of the steps, at the end, with a falling learning rate
    prompt_weight: float = 0.1  # weight in the loss of tokens that are not the assistant's

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """An untrained Qwen3 of 3.7 million parameters."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        rope_parameters={"rope_type": "default", "rope_theta": 1e5},
    )
    model = Qwen3ForCausalLM(config)  # type: ignore[no-untyped-call]
    lay_copying_circuit(model, torch.Generator().manual_seed(seed))
    return model


def pretrain(tokenizer: PreTrainedTokenizerFast, recipe: Recipe) -> Qwen3ForCausalLM:
    """Train a new model by the recipe, and say every 25 steps how far it is."""
    model = build_model(tokenizer, recipe.seed)
    optimizers = _optimizers(model, recipe)
    rows = _Rows(tokenizer, Random(recipe.seed + 1), recipe.prompt_weight)
    model.train()
    for step, phase in enumerate(_phase_of_each_step(recipe)):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * _learning_rate_share(step, recipe)
        token_ids_BL, weights_BL = rows.batch(phase)
        loss = _weighted_loss(model, token_ids_BL, weights_BL)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if (step + 1) % 25 == 0:
            print(f"step {step + 1} of {recipe.steps}: loss {loss.item():.3f}", flush=True)
    return model


def _phase_of_each_step(recipe: Recipe) -> Iterator[Phase]:
    for phase in recipe.phases:
        for _ in range(phase.steps):
            yield phase


def _optimizers(model: Qwen3ForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, which learns about twice as much a step here; AdamW for the rest."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if not (p.ndim == 2 and "embed" not in name)]
    muon = torch.optim.Muon([{"params": matrices, "peak": recipe.matrix_learning_rate}], weight_decay=0.01)
    adamw = torch.optim.AdamW(
        [{"params": others, "peak": recipe.other_learning_rate}], betas=(0.9, 0.95), weight_decay=0.01
    )
    return [muon, adamw]


def _learning_rate_share(step: int, recipe: Recipe) -> float:
    """Warm up, hold, and fall along a cosine to a fiftieth."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    start = recipe.steps * (1 - recipe.decay_share)
    progress = max(0.0, (step - start) / (recipe.steps - start))
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def _weighted_loss(model: Qwen3ForCausalLM, token_ids_BL: torch.Tensor, weights_BL: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the next token in nats, by weight."""
    logits_BLV = model(input_ids=token_ids_BL).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(
        logits_BLV.flatten(0, 1), token_ids_BL[:, 1:].flatten(), reduction="none"
    )
    weights = weights_BL[:, 1:].flatten()
    return (losses * weights).sum() / weights.sum()


class _Rows:
    """Rows of conversations one after another, the first of each row from its beginning."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, r: Random, prompt_weight: float) -> None:
        self._tokenizer = tokenizer
        self._r = r
        self._prompt_weight = prompt_weight

    def batch(self, phase: Phase) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and weights, each [rows, row_tokens]."""
        rows = [
            self._repeating(phase.row_tokens)
            if self._r.random() < phase.repeating_share
            else self._row(phase.row_tokens)
            for _ in range(phase.rows)
        ]
        return torch.tensor([ids for ids, _ in rows]), torch.tensor([weights for _, weights in rows])

    def _row(self, length: int) -> tuple[list[int], list[float]]:
        ids: list[int] = []
        weights: list[float] = []
        while len(ids) < length:
            more_ids, more_weights = self._rendered(conversation(self._r))
            ids += more_ids
            weights += more_weights
        return ids[:length], weights[:length]

    def _repeating(self, length: int) -> tuple[list[int], list[float]]:
        """Random tokens, then the same again: the shortest way to learn to copy, which all else builds on."""
        ids: list[int] = []
        weights: list[float] = []
        while len(ids) < length:
            passage = [self._r.randrange(len(self._tokenizer)) for _ in range(self._r.randint(4, 24))]
            times = self._r.randint(1, 2)
            ids += passage * (1 + times)
            weights += [0.0] * (len(passage) + 1) + [1.0] * (len(passage) * times - 1)
        return ids[:length], weights[:length]

    def _rendered(self, talk: Conversation) -> tuple[list[int], list[float]]:
        rendered: Any = self._tokenizer.apply_chat_template(
            talk.messages,
            tools=talk.tools or None,  # type: ignore[arg-type]
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        weights = [1.0 if mine else self._prompt_weight for mine in rendered["assistant_masks"]]
        return rendered["input_ids"], weights
