"""LoRA products adapter by adapter are vLLM's own, but for tokens without one: those get nothing."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from inference.vllm.cpu_products import multiply_by_adapter

IN, OUT, SLOTS = 96, 80, 5


def copying(weights: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    chosen = weights[indices]
    return chosen.squeeze(1) if chosen.dim() == 4 else chosen


def own_shrink(x: Any, weights: Any, output: Any, indices: Any, scaling: float = 1.0) -> None:
    output[:, : weights.shape[-2]] = scaling * torch.einsum("bi, boi -> bo", x, copying(weights, indices))


def own_expand(x: Any, weights: Any, output: Any, indices: Any, add_inputs: bool = True) -> None:
    own_expand_slice(x, weights, output, indices, 0, weights.shape[-2], add_inputs)


def own_expand_slice(
    x: Any, weights: Any, output: Any, indices: Any, offset: int, size: int, add_inputs: bool = True
) -> None:
    product = torch.einsum("bi, boi -> bo", x, copying(weights, indices))
    output[:, offset : offset + size] = product + (output[:, offset : offset + size] if add_inputs else 0)


@pytest.fixture
def put_right() -> Any:
    kernels = SimpleNamespace(bgmv_shrink=own_shrink, bgmv_expand=own_expand, bgmv_expand_slice=own_expand_slice)
    users = SimpleNamespace()
    multiply_by_adapter(kernels, users)
    assert vars(users) == vars(kernels)
    return kernels


INDICES = {
    "several": lambda n: torch.arange(n) % SLOTS,
    "some without": lambda n: torch.arange(n) % SLOTS - 1,
    "one of all": lambda n: torch.full((n,), 3),
    "none of all": lambda n: torch.full((n,), -1),
    "one index": lambda _: torch.tensor([2]),
    "one index, without": lambda _: torch.tensor([-1]),
}


@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("rank", [8, 64])
@pytest.mark.parametrize("n", [1, 3, 200])
@pytest.mark.parametrize("shape", [(SLOTS,), (SLOTS, 1)])
def test_a_tokens_product_is_its_own_adapters(put_right: Any, name: str, rank: int, n: int, shape: Any) -> None:
    torch.manual_seed(0)
    indices = INDICES[name](n)
    x, a, b = torch.randn(n, IN), torch.randn(*shape, rank, IN), torch.randn(*shape, OUT, rank)
    is_with = (indices >= 0).expand(n).unsqueeze(1)
    middle, before = torch.full((n, rank), 9.0), torch.randn(n, 2 * OUT)
    expected = torch.empty(n, rank)
    own_shrink(x, a, expected, indices, 0.5)

    put_right.bgmv_shrink(x, a, middle, indices, 0.5)

    assert torch.allclose(middle, expected * is_with, atol=1e-3)
    for product, own, more in (
        (put_right.bgmv_expand, own_expand, ()),
        (put_right.bgmv_expand_slice, own_expand_slice, (OUT // 2, OUT)),
    ):
        output, wanted = before.clone(), before.clone()
        product(middle, b, output, indices, *more)
        own(middle, b, wanted, indices, *more)
        assert torch.allclose(output, wanted, atol=1e-2)


def test_an_adapter_that_is_padded_wider_than_the_model_is_cut(put_right: Any) -> None:
    x, b = torch.randn(200, 64), torch.randn(SLOTS, OUT, 64)
    output = torch.zeros(200, OUT - 16)

    put_right.bgmv_expand(x, b, output, torch.zeros(200, dtype=torch.long))

    assert torch.allclose(output, (x @ b[0].T)[:, : OUT - 16], atol=1e-3)
