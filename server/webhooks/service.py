"""Webhook endpoints of a project, and the log of what was delivered to them."""

from collections.abc import Sequence
from dataclasses import dataclass

from server.db.project_session import ProjectSession
from server.db.tables import WebhookDeliveryRow, WebhookEndpointRow
from server.errors import InvalidRequest, NotFound
from server.ids import new_webhook_endpoint_id
from server.pagination import Page, build_page, unknown_cursor
from server.vocabulary import WebhookEventType
from server.webhooks import repository
from server.webhooks.schemas import CreateWebhookEndpointRequest, UpdateWebhookEndpointRequest
from server.webhooks.signing import new_secret, rotate

_SHOWN = 128  # characters of an id that a client made up


@dataclass(frozen=True)
class PageRequest:
    after: str | None
    limit: int


def create_endpoint(
    session: ProjectSession, asked: CreateWebhookEndpointRequest, *, most: int, now: float
) -> WebhookEndpointRow:
    """Make an endpoint, whose URL was looked at. `most`: how many a project may have.

    Raises:
        InvalidRequest: it has as many.
    """
    if len(repository.list_endpoints(session, before_seq=None, limit=most)) >= most:
        remedy = "Delete one, or let one receive more event types." if most else "The operator decides how many."
        raise InvalidRequest(
            f"A project can have {most} webhook endpoints. {remedy}",
            code="webhook_endpoint_limit_reached",
        )
    row = WebhookEndpointRow(
        id=new_webhook_endpoint_id(),
        project_id=session.project_id,
        name=asked.name,
        url=asked.url,
        event_types=_unique(asked.event_types),
        secret=new_secret(),
        created_at=int(now),
        updated_at=int(now),
    )
    session.add(row)
    session.flush()
    return row


def retrieve_endpoint(session: ProjectSession, endpoint_id: str) -> WebhookEndpointRow:
    """Raises: NotFound."""
    row = repository.find_endpoint(session, endpoint_id)
    if row is None:
        raise NotFound(
            f"Could not find webhook endpoint: {endpoint_id[:_SHOWN]}",
            param="webhook_endpoint_id",
            code="webhook_endpoint_not_found",
        )
    return row


def list_endpoints(session: ProjectSession, asked: PageRequest) -> Page[WebhookEndpointRow]:
    """Newest first. Raises: InvalidRequest."""
    before_seq = None
    if asked.after is not None:
        cursor = repository.find_endpoint(session, asked.after)
        if cursor is None:
            raise unknown_cursor(asked.after)
        before_seq = cursor.seq
    return build_page(repository.list_endpoints(session, before_seq=before_seq, limit=asked.limit + 1), asked.limit)


def update_endpoint(
    session: ProjectSession, endpoint_id: str, asked: UpdateWebhookEndpointRequest, *, now: float
) -> WebhookEndpointRow:
    """Change what is named; what is on its way to the endpoint goes where it is now. Raises: NotFound."""
    row = retrieve_endpoint(session, endpoint_id)
    before = (row.name, row.url, row.event_types)
    row.name = asked.name or row.name
    row.url = asked.url or row.url
    row.event_types = row.event_types if asked.event_types is None else _unique(asked.event_types)
    if (row.name, row.url, row.event_types) != before:
        row.updated_at = int(now)
    return row


def rotate_secret(session: ProjectSession, endpoint_id: str, *, keep_old: bool, now: float) -> WebhookEndpointRow:
    """Raises: NotFound."""
    row = retrieve_endpoint(session, endpoint_id)
    rotate(row, keep_old=keep_old, now=now)
    row.updated_at = int(now)
    return row


def delete_endpoint(session: ProjectSession, endpoint_id: str) -> None:
    """With its log, and with what was still to be delivered. Raises: NotFound."""
    repository.delete_endpoint(session, retrieve_endpoint(session, endpoint_id))


def list_deliveries(session: ProjectSession, endpoint_id: str, asked: PageRequest) -> Page[WebhookDeliveryRow]:
    """Newest first. Raises: NotFound, InvalidRequest."""
    retrieve_endpoint(session, endpoint_id)
    before_seq = None
    if asked.after is not None:
        cursor = repository.find_delivery(session, endpoint_id, asked.after)
        if cursor is None:
            raise unknown_cursor(asked.after)
        before_seq = cursor.seq
    rows = repository.list_deliveries(session, endpoint_id, before_seq=before_seq, limit=asked.limit + 1)
    return build_page(rows, asked.limit)


def _unique(types: Sequence[WebhookEventType]) -> list[str]:
    return [type.value for type in dict.fromkeys(types)]
