"""Weights in 16 bits are stepped as if they had 32, also after a run goes on."""

import copy

import pytest
import torch

from trainer import exact_weights
from trainer.contract.spec import SupervisedMethod
from trainer.optimizer import build_optimizer
from trainer.state import TrainingState

STEPS, BEFORE = 24, 10
METHOD = SupervisedMethod(
    n_epochs=1, batch_size=1, learning_rate=1e-3, warmup_ratio=0.0, weight_decay=0.01, max_grad_norm=1.0
)


def in_16_bits(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.to(torch.bfloat16)


class Weights(torch.nn.Module):
    """Some that are trained, beside one that stays as it is."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.trained = torch.nn.Parameter(in_16_bits(torch.linspace(0.5, 1.5, 16)).to(dtype))
        self.base = torch.nn.Parameter(torch.ones(16, dtype=dtype), requires_grad=False)


def state_of(dtype: torch.dtype) -> TrainingState:
    model = Weights(dtype)
    return TrainingState(model, *build_optimizer(model, METHOD, STEPS))


def train(state: TrainingState, steps: range) -> torch.Tensor:
    """With gradients that depend on the step alone; the weights after it."""
    weights = state.model.trained
    for step in steps:
        weights.grad = in_16_bits(torch.linspace(1, 2 + step % 3, 16)).to(weights.dtype)
        state.optimizer.step()
        state.scheduler.step()
    return torch.clone(weights.detach())


def test_steps_too_small_for_16_bits_add_up() -> None:
    exact, rounded = train(state_of(torch.float32), range(STEPS)), train(state_of(torch.bfloat16), range(STEPS))
    begun = Weights(torch.bfloat16).trained.detach()
    assert (begun - rounded).float().min() > 0
    assert torch.equal(rounded, in_16_bits(exact))


def test_stepped_as_they_are_they_stay_where_they_were() -> None:
    """Why there are copies: the largest of the steps above is lost on the largest of the weights."""
    model = Weights(torch.bfloat16)
    optimizer = torch.optim.AdamW([model.trained], lr=METHOD.learning_rate, weight_decay=METHOD.weight_decay)
    state = TrainingState(model, optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0))
    assert train(state, range(STEPS))[-1] == Weights(torch.bfloat16).trained[-1]
    assert exact_weights.dump(model, optimizer) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_run_goes_on_with_the_exact_weights(dtype: torch.dtype) -> None:
    first, second = state_of(dtype), state_of(dtype)
    train(first, range(BEFORE))
    second.model.load_state_dict(first.model.state_dict())
    second.load(copy.deepcopy(first.dump()))
    assert torch.equal(train(second, range(BEFORE, STEPS)), train(state_of(dtype), range(STEPS)))


def test_a_checkpoint_of_an_older_version_goes_on_with_the_weights_it_has() -> None:
    first, second = state_of(torch.bfloat16), state_of(torch.bfloat16)
    train(first, range(BEFORE))
    second.model.load_state_dict(first.model.state_dict())
    second.load({name: value for name, value in first.dump().items() if name != "exact"})
    (exact,) = exact_weights.dump(second.model, second.optimizer)
    assert torch.equal(exact, second.model.trained.float())
