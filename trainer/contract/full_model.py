"""A model all of whose weights were trained: the files that make it one, and how well it was saved."""

from pydantic import Field

from trainer.contract.spec import Frozen

WEIGHTS = "model.safetensors"  # all of them, in one file
FULL_MODEL_REPORT = "full_model_report.json"  # beside them, in the run directory alone


class FullModelReport(Frozen):
    """`full_model_report.json`: the saved model, reloaded, against the one in training, on the same tokens."""

    dtype: str  # of the weights' file: the base's own
    parameters: int
    n_probe_tokens: int
    logit_error: float = Field(ge=0)  # the largest difference of a logit: what rounding to that type comes to
    same_choice: float = Field(ge=0, le=1)  # share of the tokens after which both like the same token best
    logprob_gap: float = Field(ge=0)  # of the golden samples' tokens: mean absolute difference, in nats a token
