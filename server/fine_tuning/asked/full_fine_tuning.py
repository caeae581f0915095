"""What does not go with training all of a model's weights, and what would (pure)."""

from collections.abc import Iterator
from dataclasses import dataclass

from server.errors import InvalidRequest
from server.fine_tuning.adapter_options import FULL
from server.fine_tuning.asked.hyperparameters import TunedHyperparameters
from server.fine_tuning.estimates.disk import find_lack_of_disk
from server.fine_tuning.estimates.memory import resting_bytes_of_full
from server.fine_tuning.estimates.planner import Room

_OF_ADAPTERS = {"rank", "alpha", "dropout", "target_modules", "use_rslora"}


@dataclass(frozen=True)
class Ground:
    """What the training would stand on."""

    place: str  # of the hyperparameters in the request, for errors
    base_model: str
    is_further: bool  # from a fine-tuned model on
    is_of_full: bool  # that one is a full model
    parameters: int | None  # of the base model; None: not known yet
    room: Room | None  # for a job's memory; None: not known
    free_disk_bytes: int


def is_full(asked: TunedHyperparameters, ground: Ground) -> bool:
    """Whether all weights are to be trained: as asked, or else as the model was made that it goes on from."""
    return ground.is_of_full if asked.adapter is None else asked.adapter.type == FULL


def refuse_what_full_cannot(asked: TunedHyperparameters, ground: Ground) -> None:
    """Raises: InvalidRequest: it names the first thing that cannot be, and what would work."""
    errors = _of_full(asked, ground) if is_full(asked, ground) else _of_adapters(ground)
    for error in errors:
        raise error


def _of_adapters(ground: Ground) -> Iterator[InvalidRequest]:
    if ground.is_of_full:
        yield _refuse(
            f"{ground.place}.adapter.type",
            "The model is one all of whose weights were trained, and its engine serves no adapters. Leave 'adapter' "
            f"out, or ask for type 'full', to train it further; or train an adapter on '{ground.base_model}'.",
        )


def _of_full(asked: TunedHyperparameters, ground: Ground) -> Iterator[InvalidRequest]:
    yield from _with_other_options(asked, ground)
    if ground.is_further and not ground.is_of_full:
        yield _refuse(
            f"{ground.place}.adapter.type",
            "The model is an adapter, and all weights can be trained of a whole model only. Ask for "
            f"'{ground.base_model}' as the 'model', or leave 'adapter' out to train the adapter further.",
        )
    yield from _beyond_the_machine(asked, ground)


def _with_other_options(asked: TunedHyperparameters, ground: Ground) -> Iterator[InvalidRequest]:
    if asked.quantization in ("nf4", "int8"):
        yield _refuse(
            f"{ground.place}.quantization",
            f"All weights are trained, and weights in the form '{asked.quantization}' cannot be. Leave 'quantization' "
            "out, or ask for adapter type 'lora' on the quantised base.",
        )
    adapter = asked.adapter
    if adapter is not None and (meant := adapter.model_fields_set & _OF_ADAPTERS):
        name = min(meant)
        yield _refuse(
            f"{ground.place}.adapter.{name}",
            f"'{name}' is an adapter's, and type 'full' trains the model itself. Leave it out, or ask for type 'lora'.",
        )


def _beyond_the_machine(asked: TunedHyperparameters, ground: Ground) -> Iterator[InvalidRequest]:
    """What can be said before the files are looked at; the planner says the rest."""
    if ground.room is not None and ground.parameters is not None:
        optimizer = "adamw" if asked.optimizer == "auto" else asked.optimizer
        needed = resting_bytes_of_full(ground.parameters, ground.room.device, optimizer)
        if needed > ground.room.available_bytes:
            yield _refuse(
                f"{ground.place}.adapter.type",
                f"Training all weights would need more than {needed / 1e9:.3g} GB of memory, and "
                f"{ground.room.available_bytes / 1e9:.3g} GB are available. Train an adapter of type 'lora', or choose "
                "a smaller base model.",
            )
    keeps_best = asked.early_stopping_patience != "auto"
    lack = find_lack_of_disk(ground.parameters, keeps_best=keeps_best, free_bytes=ground.free_disk_bytes)
    if lack is not None:
        yield _refuse(f"{ground.place}.adapter.type", lack)


def _refuse(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, param=param, code="unsupported_value")
