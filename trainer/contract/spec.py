"""Everything a run needs to know, resolved; nothing is left to a default in the trainer."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SPEC_VERSION: Literal[1] = 1


class Frozen(BaseModel):
    """A record of the contract: immutable, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


PiiPolicy = Literal["off", "warn", "block", "redact"]  # what becomes of personal data and secrets in the files


class MixIn(Frozen):
    """A further file to train on, `mix_in_<its place>.jsonl` in the run directory."""

    file_id: str  # for messages
    ratio: float = Field(gt=0, le=10)  # examples of it for each one of the training file's own


class WantedSelection(Frozen):
    """What a job trains on where that is not simply its training file."""

    seed: int = Field(ge=0)
    holdout: float | None = Field(default=None, gt=0, le=0.5)  # share that becomes the validation set
    pilot: int | None = Field(default=None, ge=1)  # train on a sample of so many examples
    mix_in: tuple[MixIn, ...] = Field(default=(), max_length=5)


class BaseModelSource(Frozen):
    """Where the base model's weights, tokenizer and chat template come from."""

    source: str  # a local directory, or a Hugging Face repository id
    revision: str | None = None  # of the repository; None: its default branch
    chat_template_file: Path | None = None  # used instead of the tokenizer's own template


AdapterVariant = Literal["lora", "dora", "pissa"]
ALL_LINEAR: Literal["all-linear"] = "all-linear"


class LoraSettings(Frozen):
    """How the adapter is trained; what is published of it is always a plain LoRA."""

    variant: AdapterVariant = "lora"
    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    rslora: bool = False  # scaled by alpha / sqrt(rank) instead of alpha / rank
    # names of linear layers, as q_proj; or all of them but the output head
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] | Literal["all-linear"]


Quantization = Literal["nf4", "int8"]  # 4 bits with double quantisation; LLM.int8


class ServingLimits(Frozen):
    """What a published adapter has to keep to."""

    quantization: Quantization | None = None  # of the base that the engine serves; None: as its files are
    max_rank: int = Field(default=64, ge=1)  # the largest that the engine serves
    # of the logits after reload, as a share of what the adapter changes in the base's
    max_error: float = Field(default=0.1, gt=0)


Scheduler = Literal["cosine", "cosine_with_min_lr", "linear", "constant", "constant_with_warmup", "inverse_sqrt"]
Optimizer = Literal["adamw", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"]


class Steps(Frozen):
    """How a run steps, whatever its method, every number resolved."""

    n_epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)  # examples per step (one optimiser update); pairs count once
    learning_rate: float = Field(gt=0)  # peak, after warm-up
    lr_scheduler: Scheduler = "cosine"  # after warm-up
    warmup_ratio: float = Field(ge=0, lt=1)  # of all steps
    optimizer: Optimizer = "adamw"
    weight_decay: float = Field(ge=0)
    max_grad_norm: float = Field(gt=0)
    validation_interval_steps: int | None = Field(default=None, ge=1)  # None: a twentieth of the run
    # evaluations of the whole validation file without improvement, after which training ends; the result is then the
    # best checkpoint. None: train to the end, and the result is the last step
    early_stopping_patience: int | None = Field(default=None, ge=1)


class SupervisedMethod(Steps):
    """Supervised fine-tuning on the assistant's tokens."""

    type: Literal["supervised"] = "supervised"


class DpoMethod(Steps):
    """Direct preference optimisation (arXiv 2305.18290): prefer one answer more than the reference does."""

    type: Literal["dpo"] = "dpo"
    beta: float = Field(gt=0)  # higher: closer to the reference


class OrpoMethod(Steps):
    """Odds ratio preference optimisation (arXiv 2403.07691): learn the preferred answer and the choice at once."""

    type: Literal["orpo"] = "orpo"
    beta: float = Field(gt=0)  # the paper's lambda: the weight of the choice beside the answer


class KtoMethod(Steps):
    """Kahneman-Tversky optimisation (arXiv 2402.01306): single answers, each desirable or not."""

    type: Literal["kto"] = "kto"
    beta: float = Field(gt=0)  # higher: closer to the reference
    desirable_weight: float = Field(gt=0)
    undesirable_weight: float = Field(gt=0)


class SimpoMethod(Steps):
    """Simple preference optimisation (arXiv 2405.14734): a choice by mean log-probabilities, without a reference."""

    type: Literal["simpo"] = "simpo"
    beta: float = Field(gt=0)  # scales the difference of mean log-probabilities
    gamma: float = Field(ge=0)  # the margin it is to reach, after scaling


class ContinuedPretrainingMethod(Steps):
    """Go on with what the base model was made by: predict every token of plain text."""

    type: Literal["continued_pretraining"] = "continued_pretraining"


MethodName = Literal["supervised", "dpo", "orpo", "kto", "simpo", "continued_pretraining"]
# Those whose loss is of each token by itself, so that examples can share rows.
BY_TOKENS: frozenset[MethodName] = frozenset({"supervised", "continued_pretraining"})
Method = Annotated[
    SupervisedMethod | DpoMethod | OrpoMethod | KtoMethod | SimpoMethod | ContinuedPretrainingMethod,
    Field(discriminator="type"),
]


class MemoryPlan(Frozen):
    """How a run keeps within its memory. What is learnt is the same with every plan, but for rounding."""

    micro_batch_tokens: int = Field(ge=1)  # at most, padding included; a longer example is a micro-batch by itself
    gradient_checkpointing: bool  # the layers' activations are computed twice instead of kept
    quantization: Quantization | None  # of the frozen base


class TrainingSpec(Frozen):
    """One attempt of one job, as `spec.json`."""

    version: Literal[1] = SPEC_VERSION
    job_id: str
    attempt: int = Field(ge=1)  # a retry gets a directory of its own
    base_model: BaseModelSource
    method: Method
    lora: LoraSettings | None  # None: all of the model's weights are trained
    serving: ServingLimits = ServingLimits()
    seed: int = Field(ge=0)
    context_length_tokens: int = Field(ge=1)  # longer examples are cut at the end, plain text is split
    pii: PiiPolicy = "off"  # "redact": markers are trained on in their place; the others change nothing here
    selection: WantedSelection | None = None  # what it came to lies in `selection/`; None: all of the files
    selection_sha256: str | None = None  # of that; None: not known, and a damaged one cannot be made again
    checkpoint_every_steps: int = Field(ge=0)  # besides the one per epoch; 0: none besides
    packing: bool = False  # several examples in one row, each attending to itself alone; the losses are the same
    threads: int = Field(ge=1)  # CPU threads; part of what makes a run reproducible
    memory: MemoryPlan
    # a directory whose weights the training goes on from: an adapter's, or, where all are trained, a whole model's
    start_from: Path | None = None
    resume_from: Path | None = None  # a complete directory under checkpoints/ of an earlier attempt; goes first

    @model_validator(mode="after")
    def _trains_what_it_can(self) -> Self:
        if self.lora is None and self.memory.quantization is not None:
            raise ValueError(
                "only a base that stays as it is can be quantised, not one all of whose weights are trained"
            )
        return self


class CheckSpec(Frozen):
    """A question to the trainer before any training: how do these files tokenise? (`check.json`)"""

    version: Literal[1] = SPEC_VERSION
    job_id: str
    base_model: BaseModelSource
    method: MethodName = "supervised"  # by which the files are to be trained on
    context_length_tokens: int = Field(ge=1)
    pii: PiiPolicy = "off"
    selection: WantedSelection | None = None
