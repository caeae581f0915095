"""Events that projects are told of, written with what they tell of: both are committed, or neither."""

from sqlmodel import Session

from server.db.tables import WebhookDeliveryRow
from server.ids import new_webhook_delivery_id, new_webhook_event_id
from server.vocabulary import WebhookEventType
from server.webhooks import repository


def add_webhook_event(session: Session, type: WebhookEventType, *, project_id: str, object_id: str, now: float) -> None:
    """Have the project's endpoints that want such events told, once the caller's transaction is committed."""
    event_id = new_webhook_event_id()
    for endpoint in repository.list_endpoints_of(session, project_id):
        if type in endpoint.event_types:
            session.add(
                WebhookDeliveryRow(
                    id=new_webhook_delivery_id(),
                    project_id=project_id,
                    endpoint_id=endpoint.id,
                    event_id=event_id,
                    event_type=type,
                    object_id=object_id,
                    created_at=int(now),
                    due_at=now,
                )
            )
