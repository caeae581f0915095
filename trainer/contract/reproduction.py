"""How well a published adapter, reloaded on a fresh base, does what the trained model did: `reproduction.json`.

It lies beside the adapter in a run directory. Pure; docs/decisions/0031-what-is-published-is-a-plain-lora.md has the
reasons.
"""

from typing import Literal

from pydantic import Field

from trainer.contract.spec import AdapterVariant, Frozen

REPRODUCTION = "reproduction.json"
_ROUNDING = 0.01
LEAST_EFFECT = 0.1  # root mean square of a logit's change; an adapter that does less is measured by this


class Agreement(Frozen):
    """Of logits on the same tokens: root mean squares over all of them and the whole vocabulary."""

    n_tokens: int = Field(ge=1)
    effect: float = Field(ge=0)  # by how much the trained adapter moves a logit of the base
    error: float = Field(ge=0)  # by how much the published adapter's logit differs from the trained one's
    relative_error: float = Field(ge=0)  # error to effect


class Reproduction(Frozen):
    version: Literal[1] = 1
    variant: AdapterVariant  # as it was trained
    rank: int = Field(ge=1)  # of the plain LoRA that is published
    dtype: str  # what was computed in
    on_prompts: Agreement  # fixed ones, drawn by chance, and what the trained model says to them
    on_examples: Agreement  # that were trained on
    bound: float = Field(gt=0)  # the largest relative error that is let through

    @property
    def relative_error(self) -> float:
        """The larger of both."""
        return max(self.on_prompts.relative_error, self.on_examples.relative_error)

    @property
    def is_faithful(self) -> bool:
        return self.relative_error <= self.bound  # what is not a number is not


def bound_of(variant: AdapterVariant, max_error: float) -> float:
    """A plain LoRA is published as it was trained, so that it may be off by rounding alone."""
    return min(max_error, _ROUNDING) if variant == "lora" else max_error


def relative_error(*, error: float, effect: float) -> float:
    return error / max(effect, LEAST_EFFECT)
