"""First weights that can already copy, because learning to copy from nothing would take most of the training.

A transformer copies with two attention heads one after the other (an "induction circuit", arXiv 2209.11895):
one notes at each token which token came before it; the next looks for an earlier place whose noted token is the
current one, and says what stands there. Both are laid here by hand, the rest is random or zero. Everything is
trained afterwards, these heads too.

The model's width is shared out: entry 0 is the same for all tokens, OWN tells them apart, NOTED is for the note.
"""

from typing import Any

import torch
from transformers import Qwen3ForCausalLM

_CONSTANT, _OWN, _NOTED = 0, slice(1, 192), slice(192, 256)
_HEAD = 64  # dimensions of a head; entries i and i + 32 of its queries and keys turn together with the position
_PAIRS = _HEAD // 2
_FAST_PAIRS = 8  # pairs that turn fast enough to tell one position from the next
_SLOW_TURN = 0.02  # radians a token; pairs slower than this still match far away


@torch.no_grad()
def lay_copying_circuit(model: Qwen3ForCausalLM, generator: torch.Generator) -> None:
    """Change an untrained model's weights so that it continues a repeated passage."""
    embedding = model.model.embed_tokens.weight
    embedding[:, _CONSTANT] = 0.08
    embedding[:, _NOTED] *= 0.1
    for layer in model.model.layers:  # nothing is added to the residual stream but by the circuit
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    turns = model.model.rotary_emb.inv_freq  # radians a token, by pair
    note = _orthonormal(_HEAD, generator)
    _note_previous_token(model.model.layers[0].self_attn, turns, note)
    _copy_what_followed(model.model.layers[1].self_attn, turns, note, generator)


def _note_previous_token(attention: Any, turns: torch.Tensor, note: torch.Tensor) -> None:
    """Head 0 attends one token back, whatever stands there, and writes what it is into NOTED."""
    query, key = torch.zeros(_HEAD), torch.zeros(_HEAD)
    key[:_FAST_PAIRS] = 1.0
    query[:_FAST_PAIRS] = torch.cos(turns[:_FAST_PAIRS])  # the key, turned back by one position
    query[_PAIRS : _PAIRS + _FAST_PAIRS] = -torch.sin(turns[:_FAST_PAIRS])
    head = slice(0, _HEAD)
    for projection, vector in ((attention.q_proj, query), (attention.k_proj, key)):
        projection.weight[head] = 0.0
        projection.weight[head, _CONSTANT] = vector
    attention.v_proj.weight[head] = 0.0
    attention.v_proj.weight[head, _OWN] = note
    attention.o_proj.weight[_NOTED, head] = 0.04 * torch.eye(_HEAD)
    attention.q_norm.weight.fill_(2.0)  # sharpens the attention


def _copy_what_followed(attention: Any, turns: torch.Tensor, note: torch.Tensor, generator: torch.Generator) -> None:
    """Heads 0 and 2 (one for each pair of keys and values) look for the current token among the notes."""
    slow = [pair for pair in range(_PAIRS) if turns[pair] < _SLOW_TURN]
    slots = slow + [pair + _PAIRS for pair in slow]
    said = _orthonormal(2 * _HEAD, generator)
    for key_head, query_head in ((0, 0), (1, 2)):
        keys = slice(key_head * _HEAD, (key_head + 1) * _HEAD)
        queries = slice(query_head * _HEAD, (query_head + 1) * _HEAD)
        matched = torch.randperm(_HEAD, generator=generator)[: len(slots)]
        for projection, rows in ((attention.q_proj, queries), (attention.k_proj, keys), (attention.v_proj, keys)):
            projection.weight[rows] = 0.0
        for slot, entry in zip(slots, matched.tolist(), strict=True):
            attention.q_proj.weight[queries.start + slot, _OWN] = note[entry]
            attention.k_proj.weight[keys.start + slot, _NOTED.start + entry] = 1.0
        attention.v_proj.weight[keys, _OWN] = said[keys]
        attention.o_proj.weight[_OWN, queries] = 0.1 * said[keys].T
    attention.q_norm.weight.fill_(1.5)


def _orthonormal(rows: int, generator: torch.Generator) -> torch.Tensor:
    """Rows at right angles to each other, as wide as OWN."""
    width = _OWN.stop - _OWN.start
    basis: torch.Tensor = torch.linalg.qr(torch.randn(width, rows, generator=generator)).Q
    return basis.T
