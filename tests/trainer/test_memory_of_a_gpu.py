"""What is done about a GPU's memory, as far as it can be seen without one."""

from dataclasses import dataclass
from types import SimpleNamespace

import bitsandbytes
import pytest
import torch

from trainer.measuring import Meter
from trainer.setting_aside import emptied


@dataclass
class Allocator:
    """Says what a GPU's would: the most since it was last asked to forget."""

    peak_bytes: int = 0

    def reset_peak_memory_stats(self) -> None:
        self.peak_bytes = 0

    def max_memory_allocated(self) -> int:
        return self.peak_bytes


def step(meter: Meter, allocator: Allocator, *, n_tokens: int, peak_bytes: int) -> None:
    meter.begin_step()
    with meter.micro_batch(n_tokens):
        allocator.peak_bytes = peak_bytes
    meter.end_step(n_tokens=n_tokens)


def test_the_peak_on_a_gpu_is_that_of_the_steps_alone() -> None:
    allocator = Allocator(peak_bytes=900)  # while the base was loaded
    meter = Meter(SimpleNamespace(device=torch.device("cuda")), allocator)
    step(meter, allocator, n_tokens=70, peak_bytes=500)
    allocator.peak_bytes = 800  # an adapter is published, on a second base
    step(meter, allocator, n_tokens=30, peak_bytes=400)
    measured = meter.read()
    assert (measured.device, measured.peak_tensor_bytes, measured.largest_micro_batch_tokens) == ("cuda", 500, 70)


class Layers(torch.nn.Module):
    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.packed = bitsandbytes.nn.Linear8bitLt(64, 32, bias=False, has_fp16_weights=False)
        self.plain = torch.nn.Linear(32, 8)
        self.same = torch.nn.Linear(32, 8)
        self.same.weight = self.plain.weight
        self.to("cpu")

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.packed(inputs).float()
        return self.plain(hidden) + self.same(hidden)  # type: ignore[no-any-return]

    def weights(self) -> list[torch.Tensor]:
        held = self.packed.state.CB
        return [*(parameter.data for parameter in self.parameters()), *([] if held is None else [held])]


@pytest.mark.filterwarnings("ignore:MatMul8bitLt")  # it says on a CPU that inputs become float16
@pytest.mark.parametrize("has_computed", [False, True])
def test_a_model_that_is_set_aside_holds_no_weight_and_comes_back_bit_for_bit(has_computed: bool) -> None:
    """A layer in 8 bits holds its weights at a second place, once it has computed."""
    model, inputs = Layers(), torch.randn(3, 64)
    model.packed.weight = bitsandbytes.nn.Int8Params(
        torch.randn(32, 64), requires_grad=False, has_fp16_weights=False
    ).to("cpu")
    if has_computed:
        before = model(inputs)
    sums = [weight.double().sum().item() for weight in model.weights()]
    with emptied(model):
        assert {weight.numel() for weight in model.weights()} == {0}
    assert [weight.double().sum().item() for weight in model.weights()] == sums
    assert model.same.weight.data_ptr() == model.plain.weight.data_ptr()
    if has_computed:
        assert model.packed.state.CB.data_ptr() == model.packed.weight.data_ptr()
        assert torch.equal(model(inputs), before)
