"""`ft:{base}:{organization slug}:{suffix}:{8 base62}[:ckpt-step-N]` ⇄ FineTunedModelName (pure)."""

import re
from dataclasses import dataclass

from server.errors import InvalidRequest
from server.ids import random_base62, slugify

MAX_SUFFIX_LENGTH = 64

_UNIQUE = re.compile(r"[0-9A-Za-z]{8}", re.ASCII)
_STEP = re.compile(r"ckpt-step-([1-9][0-9]*)", re.ASCII)


@dataclass(frozen=True)
class FineTunedModelName:
    """The parts of a fine-tuned model's name. `str()` puts them together."""

    base: str  # as the client named it: may hold slashes and dots, never a colon
    slug: str  # of the organization
    suffix: str  # "" where the client gave none
    unique: str  # 8 base62
    step: int | None = None  # of a checkpoint; None: the job's final model

    def __str__(self) -> str:
        name = f"ft:{self.base}:{self.slug}:{self.suffix}:{self.unique}"
        return name if self.step is None else f"{name}:ckpt-step-{self.step}"


def new_model_name(base: str, slug: str, suffix: str | None, step: int | None = None) -> FineTunedModelName:
    """Make a name that was never used: every adapter, each checkpoint's too, has a unique part of its own."""
    return FineTunedModelName(base, slug, suffix or "", random_base62(8), step)


def parse_model_name(name: str) -> FineTunedModelName | None:
    """Take a name apart; None if it is not a fine-tuned model's."""
    parts = name.split(":")
    if len(parts) not in (5, 6) or parts[0] != "ft" or not parts[1] or not _UNIQUE.fullmatch(parts[4]):
        return None
    step = _STEP.fullmatch(parts[5]) if len(parts) == 6 else None
    if len(parts) == 6 and step is None:
        return None
    return FineTunedModelName(parts[1], parts[2], parts[3], parts[4], int(step[1]) if step else None)


def directory_of(name: str) -> str:
    """What the directory of a fine-tuned model is called, and all else that is its own: the unique part of the name.

    Raises:
        ValueError: it is not a fine-tuned model's name.
    """
    parsed = parse_model_name(name)
    if parsed is None:
        raise ValueError(f"{name!r} is not a fine-tuned model's name")
    return parsed.unique


def is_full_model(engine: str) -> bool:
    """Whether an engine of this name serves a full model, and no base model: those have no such names."""
    return engine.startswith("ft:")


def normalise_suffix(suffix: str) -> str:
    """Make a client's suffix fit for a name: `My Model!` → `my-model-`.

    Raises:
        InvalidRequest: longer than 64 characters, or nothing of it can be in a name (param "suffix").
    """
    if len(suffix) > MAX_SUFFIX_LENGTH:
        raise InvalidRequest(
            f"Invalid 'suffix': string too long. Expected a string with maximum length {MAX_SUFFIX_LENGTH}, "
            f"but got a string with length {len(suffix)} instead.",
            param="suffix",
            code="string_above_max_length",
        )
    slug = slugify(suffix)
    if not slug.strip("-_"):
        raise InvalidRequest(
            "Invalid 'suffix': it must hold at least one letter a-z or digit 0-9.",
            param="suffix",
            code="invalid_value",
        )
    return slug
