"""What came before a request: the responses it goes on from, and the items that it only names."""

from collections.abc import Collection, Mapping, Sequence

from server.db.project_session import ProjectSession
from server.db.tables import ResponseRow
from server.errors import InvalidRequest, NotFound
from server.relay.fields import JsonObject
from server.responses import repository
from server.responses.before import Before
from server.vocabulary import ResponseStatus

MAX_DEPTH = 1000  # responses of a conversation
_UNFINISHED = (ResponseStatus.QUEUED, ResponseStatus.IN_PROGRESS)


def find_before(session: ProjectSession, previous_id: str, *, since: float, max_bytes: int) -> Before:
    """Give the items of the response, and of all before it, in their order.

    Raises:
        InvalidRequest: one of them is not there, or they are too many.
    """
    links = repository.list_links(session, previous_id)
    check_links(links, previous_id, since=since, max_bytes=max_bytes)
    return Before(items_of(session, [link.id for link in links]), links[-1].depth, links[-1].thread_bytes)


def items_of(session: ProjectSession, response_ids: Sequence[str]) -> list[JsonObject]:
    """Give the items of responses in the order of these."""
    by_response: dict[str, list[JsonObject]] = {response_id: [] for response_id in response_ids}
    for row in repository.list_items(session, response_ids):
        by_response[row.response_id].append(row.body)
    return [item for items in by_response.values() for item in items]


def find_referred(session: ProjectSession, item_ids: Collection[str], *, since: float) -> Mapping[str, JsonObject]:
    """Give items by their ids.

    Raises:
        NotFound: one is not there.
    """
    found = {row.id: row.body for row in repository.find_items(session, item_ids, since=since)}
    for item_id in item_ids:
        if item_id not in found:
            raise NotFound(
                f"Item with id '{item_id}' not found. Items are not persisted when `store` is set to false. "
                "Try again with `store` set to true, or remove this item from your input.",
                param="input",
            )
    return found


def check_links(
    links: Sequence[ResponseRow], previous_id: str, *, since: float, max_bytes: int, most: int = MAX_DEPTH
) -> None:
    """Check that the conversation is whole, has ended and may go on (pure).

    Raises:
        InvalidRequest.
    """
    missing = previous_id if not links else next((link.id for link in links if link.created_at < since), None)
    missing = missing or links[0].previous_id
    if missing is not None:
        raise InvalidRequest(
            f"Previous response with id '{missing}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    if links[-1].status in _UNFINISHED:
        raise InvalidRequest(
            f"Previous response with id '{previous_id}' has not ended yet. Retrieve it until it has.",
            param="previous_response_id",
            code="invalid_value",
        )
    if len(links) >= most or links[-1].thread_bytes > max_bytes:
        raise InvalidRequest(
            f"The conversation before this request is too long: it may have {most} responses and {max_bytes} "
            "bytes. Begin another one.",
            param="previous_response_id",
            code="context_length_exceeded",
        )
