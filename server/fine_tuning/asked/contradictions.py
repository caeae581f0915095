"""What a client may not ask for together, of this base model, or on this machine (pure)."""

from collections.abc import Iterator
from dataclasses import dataclass

from server.errors import InvalidRequest
from server.fine_tuning.asked.hyperparameters import TunedHyperparameters
from server.fine_tuning.asked.methods import KtoHyperparameters


@dataclass(frozen=True)
class Circumstances:
    """What else decides whether hyperparameters can be had."""

    place: str  # of the hyperparameters in the request, for errors
    context_length: int  # of the base model, in tokens
    on_gpu: bool  # whether trainers of this server compute on one
    validates: bool  # whether there is a validation file or a hold-out
    packs: bool  # whether the method's examples can share rows


def refuse_contradictions(asked: TunedHyperparameters, of: Circumstances) -> None:
    """Raises: InvalidRequest: it names the first contradiction, and what would work."""
    for look in (_among_themselves, _with_the_method, _with_the_base, _with_the_data):
        for error in look(asked, of):
            raise error


def _among_themselves(asked: TunedHyperparameters, of: Circumstances) -> Iterator[InvalidRequest]:
    if asked.learning_rate != "auto" and asked.learning_rate_multiplier != "auto":
        yield InvalidRequest(
            "'learning_rate' is the learning rate itself, and 'learning_rate_multiplier' multiplies the one that "
            "follows from the data and the base model: they exclude each other. Give one of them.",
            param=f"{of.place}.learning_rate",
            code="invalid_value",
        )
    if isinstance(asked, KtoHyperparameters) and asked.batch_size == 1:
        yield InvalidRequest(
            f"Invalid '{of.place}.batch_size': integer below minimum value. Expected a value >= 2, as 'kto' estimates "
            "over each step how far the model has moved, but got 1 instead.",
            param=f"{of.place}.batch_size",
            code="integer_below_min_value",
        )
    if asked.lr_scheduler == "constant" and asked.warmup_ratio not in ("auto", 0):
        yield InvalidRequest(
            "The learning rate of 'lr_scheduler' 'constant' has no warm-up. Ask for 'constant_with_warmup', or leave "
            "'warmup_ratio' out.",
            param=f"{of.place}.warmup_ratio",
            code="invalid_value",
        )


def _with_the_method(asked: TunedHyperparameters, of: Circumstances) -> Iterator[InvalidRequest]:
    if asked.packing is True and not of.packs:
        yield InvalidRequest(
            "'packing' is for texts and for answers to learn: pairs and judged answers do not share rows. Leave "
            "'packing' out, or use the method 'supervised' or 'continued_pretraining'.",
            param=f"{of.place}.packing",
            code="unsupported_value",
        )


def _with_the_base(asked: TunedHyperparameters, of: Circumstances) -> Iterator[InvalidRequest]:
    if asked.max_seq_length != "auto" and asked.max_seq_length > of.context_length:
        yield InvalidRequest(
            f"Invalid '{of.place}.max_seq_length': integer above maximum value. Expected a value <= "
            f"{of.context_length}, which is the base model's context, but got {asked.max_seq_length} instead.",
            param=f"{of.place}.max_seq_length",
            code="integer_above_max_value",
        )
    if asked.optimizer not in ("auto", "adamw") and not of.on_gpu:
        yield InvalidRequest(
            f"The optimizer '{asked.optimizer}' needs a CUDA GPU, and this server trains on a CPU. Use 'adamw'.",
            param=f"{of.place}.optimizer",
            code="unsupported_value",
        )


def _with_the_data(asked: TunedHyperparameters, of: Circumstances) -> Iterator[InvalidRequest]:
    if of.validates:
        return
    counted = {
        "early_stopping_patience": "counts evaluations of",
        "validation_interval": "counts the steps between evaluations of",
    }
    for name, what in counted.items():
        if getattr(asked, name) != "auto":
            yield InvalidRequest(
                f"'{name}' {what} the validation file. Add a 'validation_file' or 'data.holdout', or leave "
                f"'{name}' out.",
                param="validation_file",
                code="missing_required_parameter",
            )
