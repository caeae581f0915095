"""What cannot be trained on a base model whose own files are quantised, and what would work (pure)."""

from collections.abc import Iterator

from server.errors import InvalidRequest
from server.fine_tuning.asked.hyperparameters import TunedHyperparameters

_TRAINED_ON = "bitsandbytes"


def refuse_on_quantised_files(
    asked: TunedHyperparameters, *, place: str, stored_in: str | None, trains_all: bool
) -> None:
    """`place` is where the hyperparameters stand in the request; `stored_in` None: the files are not quantised.

    Raises:
        InvalidRequest: it names the first thing that cannot be.
    """
    if stored_in is not None:
        for error in _refusals(asked, place, stored_in, trains_all):
            raise error


def _refusals(asked: TunedHyperparameters, place: str, stored_in: str, trains_all: bool) -> Iterator[InvalidRequest]:
    whose = f"The base model's own files are quantised ({stored_in})"
    if stored_in != _TRAINED_ON:
        yield InvalidRequest(
            f"{whose}, and adapters are trained on files in 16 or 32 bits, or on those of bitsandbytes. Ask the "
            "operator for the base model in one of these.",
            param="model",
            code="model_not_available",
        )
    if trains_all:
        yield InvalidRequest(
            f"{whose}, and what is quantised cannot itself be trained. Ask for adapter type 'lora'.",
            param=f"{place}.adapter.type",
            code="unsupported_value",
        )
    if asked.quantization in ("nf4", "int8"):
        yield InvalidRequest(
            f"{whose}, and are not quantised once more. Leave 'quantization' out.",
            param=f"{place}.quantization",
            code="unsupported_value",
        )
