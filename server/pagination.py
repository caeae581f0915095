"""after, limit and has_more, once for every list."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Query

from server.errors import InvalidRequest

MAX_LIMIT = 10_000

Row = TypeVar("Row")

AfterQuery = Annotated[str | None, Query(description="The id of the last object of the page before.")]
# 0 gives an empty page: the official client's own tests ask for it.
LimitQuery = Annotated[int, Query(ge=0, le=MAX_LIMIT, description="The most objects of a page.")]


@dataclass(frozen=True)
class Page(Generic[Row]):
    rows: Sequence[Row]
    has_more: bool


def build_page(rows: Sequence[Row], limit: int) -> Page[Row]:
    """Make a page of up to `limit` rows, where one more than that was asked of the database."""
    return Page(rows[:limit], len(rows) > limit)


def unknown_cursor(after: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid 'after': there is no object with the id '{after[:256]}' in this list.",
        param="after",
        code="invalid_value",
    )
