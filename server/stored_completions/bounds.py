"""How long a project's stored completions are kept, and how much of the disk they may take (pure)."""

from dataclasses import dataclass
from typing import Protocol

_DAY_S = 24 * 3600
_MIB = 1024**2


class Asked(Protocol):
    """Settings, or a project's own values. None, of a project: the settings'; 0: no bound."""

    @property
    def stored_completion_days(self) -> int | None: ...
    @property
    def stored_completion_mib(self) -> int | None: ...


@dataclass(frozen=True)
class Bounds:
    most_s: int | None  # since the answer; None: until they are deleted
    most_bytes: int | None  # None: as many as there are


def bounds_of(settings: Asked, project: Asked | None) -> Bounds:
    days, mib = settings.stored_completion_days, settings.stored_completion_mib
    if project is not None:
        days = days if project.stored_completion_days is None else project.stored_completion_days
        mib = mib if project.stored_completion_mib is None else project.stored_completion_mib
    return Bounds(days * _DAY_S if days else None, mib * _MIB if mib else None)
