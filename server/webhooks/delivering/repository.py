"""All SQL of delivering: which tries are due, whose they are, and what came of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, func
from sqlmodel import Session, col, select

from server.db.system_session import system_session
from server.db.tables import WebhookDeliveryRow, WebhookEndpointRow
from server.vocabulary import DeliveryStatus, WebhookEventType
from server.webhooks.delivering.turns import Waiting
from server.webhooks.event import WebhookEvent, WebhookEventData
from server.webhooks.outside.sending import Sent
from server.webhooks.signing import Message, secrets_of


@dataclass(frozen=True)
class Claim:
    """One try, of whoever claimed it until its lease ends."""

    message: Message
    number: int  # of the try, from 1
    created_at: int  # of the event
    url: str
    secrets: list[str]
    waiting: Waiting


def list_waiting(database: Engine, *, now: float) -> list[Waiting]:
    """The endpoints for which something is due; the number of deliveries there are does not matter."""
    earliest = (
        select(func.min(col(WebhookDeliveryRow.due_at)))
        .where(WebhookDeliveryRow.endpoint_id == WebhookEndpointRow.id)
        .correlate(WebhookEndpointRow)
        .scalar_subquery()
    )
    with system_session(database) as session:
        found = session.exec(select(WebhookEndpointRow.id, WebhookEndpointRow.project_id, earliest)).all()
    return [Waiting(*row) for row in found if row[2] is not None and row[2] <= now]


def claim(database: Engine, chosen: Sequence[Waiting], *, now: float, lease_s: float) -> list[Claim]:
    """Begin the next try of each. What is not recorded within the lease, because of a kill, is due again after it."""
    with system_session(database, write=True) as session:
        found = [_claim_one(session, waiting, now=now, until=now + lease_s) for waiting in chosen]
    return [one for one in found if one is not None]


def record(
    database: Engine, claimed: Claim, sent: Sent, *, now: float, next_try_at: Callable[[], float | None]
) -> None:
    """Write down what came of a try, unless its lease is over and another has it, or the endpoint is deleted."""
    with system_session(database, write=True) as session:
        query = select(WebhookDeliveryRow).where(WebhookDeliveryRow.id == claimed.message.id)
        row = session.exec(query).one_or_none()
        if row is None or row.n_tries != claimed.number or row.status is not DeliveryStatus.PENDING:
            return
        result = {"outcome": sent.outcome.value, "status_code": sent.status_code, "ended_at": now}
        row.tries = [*row.tries[:-1], row.tries[-1] | result]
        row.due_at = None if sent.is_delivered else next_try_at()
        if row.due_at is None:
            row.status = DeliveryStatus.DELIVERED if sent.is_delivered else DeliveryStatus.FAILED
            row.ended_at = now


def _claim_one(session: Session, waiting: Waiting, *, now: float, until: float) -> Claim | None:
    """None: another worker was first, or the endpoint is deleted."""
    query = (
        select(WebhookDeliveryRow, WebhookEndpointRow)
        .join(WebhookEndpointRow, col(WebhookEndpointRow.id) == col(WebhookDeliveryRow.endpoint_id))
        .where(WebhookDeliveryRow.endpoint_id == waiting.endpoint_id, col(WebhookDeliveryRow.due_at) <= now)
        .order_by(col(WebhookDeliveryRow.due_at))
        .limit(1)
    )
    found = session.exec(query).first()
    if found is None:
        return None
    row, endpoint = found
    row.n_tries += 1
    row.due_at = until
    row.tries = [*row.tries, {"began_at": now, "outcome": None, "status_code": None, "ended_at": None}]
    session.flush()  # before the next one of the same endpoint is looked for
    return Claim(
        Message(row.id, _body(row)), row.n_tries, row.created_at, endpoint.url, secrets_of(endpoint, now), waiting
    )


def _body(row: WebhookDeliveryRow) -> bytes:
    """The same bytes in every try."""
    return WebhookEvent(
        id=row.event_id,
        created_at=row.created_at,
        type=WebhookEventType(row.event_type),
        data=WebhookEventData(id=row.object_id),
    ).body()
