"""Responses that are kept, as their project asks for them."""

from collections.abc import Sequence
from typing import Literal

from server.db.project_session import ProjectSession
from server.db.tables import ResponseRow
from server.errors import InvalidRequest, NotFound
from server.pagination import Page, build_page, unknown_cursor
from server.relay.fields import JsonObject
from server.responses import keeping, repository
from server.responses.conversations import items_of

Order = Literal["asc", "desc"]


def find(session: ProjectSession, response_id: str, *, since: float) -> ResponseRow:
    """Raises: NotFound."""
    row = repository.find_response(session, response_id)
    if row is None or row.created_at < since:
        raise NotFound(f"Response with id '{response_id}' not found.")
    return row


def cancel(session: ProjectSession, response_id: str, *, since: float) -> JsonObject:
    """Cancel what runs in the background; what has ended stays as it is.

    Raises:
        NotFound.
        InvalidRequest: it was never in the background.
    """
    row = find(session, response_id, since=since)
    if not row.body["background"]:
        raise InvalidRequest("Cannot cancel a synchronous response.", param="response_id")
    if row.runner is not None:
        keeping.cancel(row)
    return keeping.show(session, row)


def delete(session: ProjectSession, response_id: str, *, since: float) -> None:
    """Raises: NotFound."""
    repository.delete_response(session, find(session, response_id, since=since))


def list_input(session: ProjectSession, response_id: str, *, since: float) -> list[JsonObject]:
    """Give all that the model was given, the oldest first: what came before, as far as it is there, and its own.

    Raises:
        NotFound.
    """
    find(session, response_id, since=since)
    ids = [link.id for link in repository.list_links(session, response_id) if link.created_at >= since]
    own = [row.body for row in repository.list_items(session, ids[-1:]) if not row.is_output]
    return items_of(session, ids[:-1]) + own


def page_of(items: Sequence[JsonObject], *, after: str | None, limit: int, order: Order) -> Page[JsonObject]:
    """Cut a page out (pure).

    Raises:
        InvalidRequest: there is no such item.
    """
    ordered = list(items) if order == "asc" else list(reversed(items))
    start = 0
    if after is not None:
        place = next((place for place, item in enumerate(ordered) if item["id"] == after), None)
        if place is None:
            raise unknown_cursor(after)
        start = place + 1
    return build_page(ordered[start : start + limit + 1], limit)
