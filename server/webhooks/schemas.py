"""Webhook endpoints on the wire, as the official client knows them, and the log of deliveries, which is ours."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from server.db.tables import WebhookDeliveryRow, WebhookEndpointRow
from server.vocabulary import DeliveryStatus, TryOutcome, WebhookEventType
from server.webhooks.outside.urls import MAX_URL_LENGTH
from server.webhooks.signing import hint_of

EventTypes = Annotated[list[WebhookEventType], Field(min_length=1, max_length=100)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Url = Annotated[str, Field(min_length=1, max_length=MAX_URL_LENGTH)]


class CreateWebhookEndpointRequest(BaseModel):
    """OpenAI's client: WebhookCreateParams."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    url: Url
    event_types: EventTypes


class UpdateWebhookEndpointRequest(BaseModel):
    """OpenAI's client: WebhookUpdateParams. What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    url: Url | None = None
    event_types: EventTypes | None = None


class RotateWebhookSecretRequest(BaseModel):
    """OpenAI's client: WebhookRotateSecretParams."""

    model_config = ConfigDict(extra="forbid")

    keep_old_secret_active_for_24_hours: bool = False


class TestWebhookEndpointRequest(BaseModel):
    """OpenAI's client: WebhookTestParams."""

    model_config = ConfigDict(extra="forbid")

    event_type: WebhookEventType


class WebhookEndpoint(BaseModel):
    """OpenAI's client: WebhookEndpoint."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    name: str
    url: str
    event_types: list[WebhookEventType]
    created_at: int  # unix seconds
    updated_at: int
    signing_secret_hint: str

    @classmethod
    def from_row(cls, row: WebhookEndpointRow) -> Self:
        return cls(
            id=row.id,
            name=row.name,
            url=row.url,
            event_types=[WebhookEventType(name) for name in row.event_types],
            created_at=row.created_at,
            updated_at=row.updated_at,
            signing_secret_hint=hint_of(row.secret),
        )


class WebhookEndpointWithSecret(WebhookEndpoint):
    """OpenAI's client: WebhookEndpointWithSecret."""

    signing_secret: str

    @classmethod
    def from_row(cls, row: WebhookEndpointRow) -> Self:
        return cls(signing_secret=row.secret, **WebhookEndpoint.from_row(row).model_dump())


class ListWebhookEndpointsResponse(BaseModel):
    """OpenAI's client: WebhookEndpointList."""

    object: Literal["list"] = "list"
    data: list[WebhookEndpoint]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @classmethod
    def from_rows(cls, rows: Sequence[WebhookEndpointRow], *, has_more: bool) -> Self:
        data = [WebhookEndpoint.from_row(row) for row in rows]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return cls(data=data, first_id=first, last_id=last, has_more=has_more)


class DeletedWebhookEndpoint(BaseModel):
    """OpenAI's client: DeletedWebhookEndpoint."""

    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: Literal[True] = True


class WebhookEndpointTestResult(BaseModel):
    """OpenAI's client: WebhookEndpointTestResult."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: WebhookEventType
    status_code: int
    success: Literal[True] = True  # an answer came; which, `status_code` says


class ListWebhookEventTypesResponse(BaseModel):
    """OpenAI's client: WebhookEventTypeList."""

    object: Literal["list"] = "list"
    data: list[WebhookEventType]


class WebhookTry(BaseModel):
    """One try to deliver."""

    began_at: float  # unix seconds
    ended_at: float | None
    outcome: TryOutcome | None  # null: it is under way, or was cut off with the service
    status_code: int | None


class WebhookDelivery(BaseModel):
    """One event to one endpoint."""

    id: str  # the header `webhook-id`
    object: Literal["webhook_endpoint.delivery"] = "webhook_endpoint.delivery"
    webhook_endpoint_id: str
    event_id: str
    event_type: WebhookEventType
    object_id: str  # of what the event tells of
    created_at: int  # unix seconds
    status: DeliveryStatus
    next_try_at: float | None  # unix seconds
    tries: list[WebhookTry]  # in their order

    @classmethod
    def from_row(cls, row: WebhookDeliveryRow) -> Self:
        return cls(
            id=row.id,
            webhook_endpoint_id=row.endpoint_id,
            event_id=row.event_id,
            event_type=row.event_type,
            object_id=row.object_id,
            created_at=row.created_at,
            status=row.status,
            next_try_at=row.due_at,
            tries=[WebhookTry.model_validate(one) for one in row.tries],
        )


class ListWebhookDeliveriesResponse(BaseModel):
    object: Literal["list"] = "list"
    data: list[WebhookDelivery]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @classmethod
    def from_rows(cls, rows: Sequence[WebhookDeliveryRow], *, has_more: bool) -> Self:
        data = [WebhookDelivery.from_row(row) for row in rows]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return cls(data=data, first_id=first, last_id=last, has_more=has_more)
