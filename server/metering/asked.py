"""What of the usage is asked for, and which page of it (pure)."""

from dataclasses import dataclass
from typing import Literal

from server.errors import InvalidRequest

BucketWidth = Literal["1m", "1h", "1d"]
GroupBy = Literal["project_id", "user_id", "api_key_id", "model", "batch", "service_tier", "api_source"]

_WIDTH_S = {"1m": 60, "1h": 3600, "1d": 86400}
_DEFAULT_LIMIT = {"1m": 60, "1h": 24, "1d": 7}
_MAX_LIMIT = {"1m": 1440, "1h": 168, "1d": 31}
# the others are one here
_COLUMNS = {"project_id": "project_id", "api_key_id": "key_id", "model": "model", "batch": "is_batch"}
_CURSOR = "page_"


@dataclass(frozen=True)
class Buckets:
    """A page of buckets, which are whole multiples of their width. Unix seconds."""

    starts: range
    width_s: int
    next_page: str | None


def choose_buckets(*, since: int, until: int, width: BucketWidth, limit: int | None, page: str | None) -> Buckets:
    """Lay out the page after the cursor, as many buckets as OpenAI gives if not told.

    Raises:
        InvalidRequest: the limit is too high for the width, or the cursor is none of ours.
    """
    width_s, highest = _WIDTH_S[width], _MAX_LIMIT[width]
    if limit is not None and not 1 <= limit <= highest:
        raise InvalidRequest(
            f"Invalid 'limit': must be between 1 and {highest} for bucket_width={width}.",
            param="limit",
            code="invalid_value",
        )
    first = _read_cursor(page) if page else since
    starts = range(first // width_s * width_s, max(until, first), width_s)
    shown = starts[: limit or _DEFAULT_LIMIT[width]]
    has_more = len(shown) < len(starts)
    return Buckets(shown, width_s, f"{_CURSOR}{shown[-1] + width_s}" if has_more else None)


def columns_of(group_by: frozenset[str]) -> list[str]:
    return [column for asked, column in _COLUMNS.items() if asked in group_by]


def _read_cursor(page: str) -> int:
    digits = page.removeprefix(_CURSOR)
    if page == digits or not (digits.isascii() and digits.isdigit() and len(digits) <= 12):
        raise InvalidRequest("Invalid 'page': not one of this list.", param="page", code="invalid_value")
    return int(digits)
