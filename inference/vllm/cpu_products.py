"""vLLM's LoRA products on a CPU, adapter by adapter: its own copy an adapter's factor for every token.

Some 300 tokens of a prompt and a rank of 64 are a hundred megabytes that are copied for each layer, and a small
adapter costs as much as the largest that is allowed. Here the tokens of an adapter are multiplied with it together.
A token without an adapter has the index -1, which vLLM's own take for the last slot (see `cpu_server`).
Tensors are used by their methods alone: nothing of torch is imported.
"""

from collections.abc import Iterator
from typing import Any

_FEW = 2**17  # numbers, which are copied as quickly as tokens are sorted


def multiply_by_adapter(kernels: Any, users: Any) -> None:
    """Put these products in the place of vLLM's: `kernels` defines them, `users` has imported them."""
    kernels.bgmv_shrink = users.bgmv_shrink = _shrinking(kernels.bgmv_shrink)
    kernels.bgmv_expand = users.bgmv_expand = _expanding(kernels.bgmv_expand)
    kernels.bgmv_expand_slice = users.bgmv_expand_slice = _expanding_slices(kernels.bgmv_expand_slice)


def _shrinking(own: Any) -> Any:
    def bgmv_shrink(inputs: Any, weights: Any, output: Any, indices: Any, scaling: float = 1.0) -> None:
        if _are_few(inputs, weights):
            own(inputs, weights, output, indices, scaling)
            output[(indices < 0).expand(len(output))] = 0  # one index may stand for all rows
            return
        rank = weights.shape[-2]
        output[:, :rank] = 0
        for slot, rows in _tokens_by_slot(indices, len(inputs)):
            output[rows, :rank] = scaling * _product(inputs[rows], weights[slot], output.dtype)

    return bgmv_shrink


def _expanding(own: Any) -> Any:
    def bgmv_expand(inputs: Any, weights: Any, output: Any, indices: Any, add_inputs: bool = True) -> None:
        if _are_few(inputs, weights) or not add_inputs or len(inputs) != len(output):
            own(inputs, weights, output, indices, add_inputs)
            return
        width = min(weights.shape[-2], output.shape[1])  # the adapter and the model may be padded differently
        _add(inputs, weights, output[:, :width], indices, width)

    return bgmv_expand


def _expanding_slices(own: Any) -> Any:
    def bgmv_expand_slice(
        inputs: Any, weights: Any, output: Any, indices: Any, offset: int, size: int, add_inputs: bool = True
    ) -> None:
        if _are_few(inputs, weights) or not add_inputs or len(inputs) != len(output):
            own(inputs, weights, output, indices, offset, size, add_inputs)
            return
        _add(inputs, weights, output[:, offset : offset + size], indices, size)

    return bgmv_expand_slice


def _add(inputs: Any, weights: Any, output: Any, indices: Any, width: int) -> None:
    for slot, rows in _tokens_by_slot(indices, len(inputs)):
        output[rows] += _product(inputs[rows], weights[slot], output.dtype)[:, :width]


def _are_few(inputs: Any, weights: Any) -> bool:
    return bool(len(inputs) * weights[0].numel() <= _FEW)


def _tokens_by_slot(indices: Any, n_tokens: int) -> Iterator[tuple[int, Any]]:
    """Give each slot that an index names, with the rows of its tokens; one index may stand for all of them."""
    slots = indices.unique().tolist()
    if len(slots) == 1:
        if slots[0] >= 0:
            yield slots[0], slice(n_tokens)
        return
    for slot in slots:
        if slot >= 0:
            yield slot, (indices == slot).nonzero().squeeze(1)


def _product(inputs: Any, factor: Any, dtype: Any) -> Any:
    """(tokens, in) and (out, in), which may be (1, out, in), → (tokens, out)."""
    return inputs.to(dtype) @ factor.reshape(factor.shape[-2:]).to(dtype).T
