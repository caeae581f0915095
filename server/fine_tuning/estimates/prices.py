"""What a job costs at the operator's price, beside what hosted services ask for; the list is the operator's to edit."""

import tomllib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class PricesInvalid(Exception):
    """The file of hosted prices cannot be used; the message says where and why."""


class HostedPrice(BaseModel):
    """One `[[price]]` of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: Annotated[str, Field(min_length=1, max_length=64)]
    model: Annotated[str, Field(min_length=1, max_length=128)]
    per_million_tokens: Annotated[float, Field(ge=0, allow_inf_nan=False)]  # trained, all epochs counted
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    as_of: date  # when somebody looked


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")

    price: list[HostedPrice] = []


@dataclass(frozen=True)
class Cost:
    """Of all trained tokens of a job."""

    amount: float | None  # None: the operator has set no price
    currency: str
    hosted: tuple[tuple[HostedPrice, float], ...]  # each with its amount


def load_prices(path: Path) -> tuple[HostedPrice, ...]:
    """Read the file.

    Raises:
        PricesInvalid: not there, not TOML, or a field that is not as it should be.
    """
    try:
        return tuple(_Document.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).price)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PricesInvalid(f"cannot read the file of hosted prices {path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise PricesInvalid(f"{path}: field {field!r}: {first['msg']}") from error


def cost_of(n_tokens: int, *, price: float | None, currency: str, hosted: tuple[HostedPrice, ...]) -> Cost:
    """`price` is the operator's, for a million trained tokens."""
    millions = n_tokens / 1e6
    amount = None if price is None else round(price * millions, 6)
    return Cost(amount, currency, tuple((each, round(each.per_million_tokens * millions, 6)) for each in hosted))
