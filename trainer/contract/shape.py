"""The sizes of a base model, from which its memory and its adapters' sizes follow."""

from pydantic import Field

from trainer.contract.spec import Frozen


class Experts(Frozen):
    """What a mixture of experts has in place of the MLP of some layers; a shared expert is for every token."""

    layers: int = Field(ge=1)  # that choose among experts; the other ones have an MLP as it is elsewhere
    number: int = Field(ge=1)  # in each of those layers
    active: int = Field(ge=1)  # for each token
    intermediate: int = Field(ge=1)  # of one of them
    shared_intermediate: int = Field(default=0, ge=0)  # 0: there is no shared one


class ModelShape(Frozen):
    """A decoder whose layers have Llama's seven projections: q, k, v, o; and gate, up and down, or experts for them."""

    hidden: int = Field(ge=1)
    intermediate: int = Field(ge=1)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    vocabulary: int = Field(ge=1)
    tied: bool  # the output head is the embedding
    experts: Experts | None = None  # None: every layer has an MLP of its own
