"""Usage that is asked for, and what it comes to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.metering.account import Amount


@dataclass(frozen=True)
class UsageFilter:
    """Of which usage; None: whichever."""

    since: int  # unix seconds, inclusive
    until: int  # exclusive
    project_ids: Sequence[str] | None = None
    key_ids: Sequence[str] | None = None
    models: Sequence[str] | None = None
    is_batch: bool | None = None


@dataclass(frozen=True)
class UsageSum:
    """What a group of usage comes to, in a bucket of time."""

    bucket: int  # unix seconds of its beginning
    group: Mapping[str, Any]  # by the columns that were grouped by
    amount: Amount
