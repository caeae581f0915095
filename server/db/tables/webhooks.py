"""Webhook endpoints, and what they are to be told."""

from typing import Any

from sqlalchemy import JSON, Column, Index
from sqlmodel import Field

from server.db.tables.columns import ProjectOwned, words
from server.vocabulary import DeliveryStatus, WebhookEventType


class WebhookEndpointRow(ProjectOwned, table=True):
    """Where a project wants to be told of events."""

    __tablename__ = "webhook_endpoint"

    id: str = Field(primary_key=True)
    seq: int = Field(default=0, index=True)
    name: str
    url: str
    event_types: list[str] = Field(sa_column=Column(JSON, nullable=False))
    secret: str  # readable, as it has to sign
    old_secrets: list[dict[str, Any]] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    created_at: int
    updated_at: int


class WebhookDeliveryRow(ProjectOwned, table=True):
    """One event to one endpoint: written with what it tells of, and kept for a while as the log."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        Index("ix_webhook_delivery_endpoint_id_due_at", "endpoint_id", "due_at"),
        Index("ix_webhook_delivery_endpoint_id_seq", "endpoint_id", "seq"),
    )

    project_id: str = Field(foreign_key="project.id")  # no index: deliveries are found by their endpoint
    seq: int | None = Field(default=None, primary_key=True)
    id: str = Field(unique=True)  # `webhook-id`: the same in every try
    endpoint_id: str = Field(foreign_key="webhook_endpoint.id")
    event_id: str
    event_type: WebhookEventType = Field(sa_type=words(WebhookEventType))
    object_id: str  # of what the event tells of
    created_at: int  # of the event
    status: DeliveryStatus = Field(default=DeliveryStatus.PENDING, sa_type=words(DeliveryStatus), index=True)
    due_at: float | None  # unix seconds: when the next try may begin; None: never
    ended_at: float | None = Field(default=None, index=True)
    n_tries: int = 0  # begun; what comes of an earlier one is not written down any more
    tries: list[dict[str, Any]] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
