"""The sizes of a base model, from which its memory and its adapters' sizes follow."""

from pydantic import Field

from trainer.contract.spec import Frozen


class ModelShape(Frozen):
    """A decoder whose layers have Llama's seven projections: q, k, v, o, gate, up and down."""

    hidden: int = Field(ge=1)
    intermediate: int = Field(ge=1)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    vocabulary: int = Field(ge=1)
    tied: bool  # the output head is the embedding
