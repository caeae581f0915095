"""All SQL of endpoints, of what they are to be told, and of the log of it."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Engine, func
from sqlmodel import Session, col, delete, select

from server.db.project_session import ProjectSession
from server.db.system_session import system_session
from server.db.tables import WebhookDeliveryRow, WebhookEndpointRow
from server.vocabulary import DeliveryStatus


def find_endpoint(session: ProjectSession, endpoint_id: str) -> WebhookEndpointRow | None:
    return session.get(WebhookEndpointRow, endpoint_id)


def list_endpoints(session: ProjectSession, *, before_seq: int | None, limit: int) -> Sequence[WebhookEndpointRow]:
    """Newest first."""
    query = select(WebhookEndpointRow).order_by(col(WebhookEndpointRow.seq).desc()).limit(limit)
    if before_seq is not None:
        query = query.where(col(WebhookEndpointRow.seq) < before_seq)
    return session.exec(query).all()


def list_endpoints_of(session: Session, project_id: str) -> Sequence[WebhookEndpointRow]:
    """In whichever session, oldest first."""
    query = select(WebhookEndpointRow).where(WebhookEndpointRow.project_id == project_id)
    return session.exec(query.order_by(col(WebhookEndpointRow.seq))).all()


def delete_endpoint(session: ProjectSession, endpoint: WebhookEndpointRow) -> None:
    """With its log: what was to be delivered is not."""
    session.exec(delete(WebhookDeliveryRow).where(col(WebhookDeliveryRow.endpoint_id) == endpoint.id))
    session.delete(endpoint)


def find_delivery(session: ProjectSession, endpoint_id: str, delivery_id: str) -> WebhookDeliveryRow | None:
    query = select(WebhookDeliveryRow).where(
        WebhookDeliveryRow.id == delivery_id, WebhookDeliveryRow.endpoint_id == endpoint_id
    )
    return session.exec(query).first()


def list_deliveries(
    session: ProjectSession, endpoint_id: str, *, before_seq: int | None, limit: int
) -> Sequence[WebhookDeliveryRow]:
    """Newest first."""
    query = select(WebhookDeliveryRow).where(WebhookDeliveryRow.endpoint_id == endpoint_id)
    if before_seq is not None:
        query = query.where(col(WebhookDeliveryRow.seq) < before_seq)
    return session.exec(query.order_by(col(WebhookDeliveryRow.seq).desc()).limit(limit)).all()


def list_ended(session: Session, *, before: float, limit: int) -> Sequence[WebhookDeliveryRow]:
    """Of all projects, for the sweeper."""
    query = select(WebhookDeliveryRow).where(col(WebhookDeliveryRow.ended_at) <= before)
    return session.exec(query.limit(limit)).all()


def count_deliveries(database: Engine) -> Mapping[DeliveryStatus, int]:
    """Of all projects, those in the log."""
    query = select(WebhookDeliveryRow.status, func.count()).group_by(col(WebhookDeliveryRow.status))
    with system_session(database) as session:
        return {DeliveryStatus(status): n for status, n in session.exec(query)}
