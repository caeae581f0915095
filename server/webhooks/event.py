"""An event on the wire, as `client.webhooks.unwrap` reads it."""

from typing import Literal

from pydantic import BaseModel

from server.vocabulary import WebhookEventType


class WebhookEventData(BaseModel):
    id: str  # of the object; what became of it, the API says


class WebhookEvent(BaseModel):
    """OpenAI: FineTuningJobSucceededWebhookEvent and its like, which differ in their type alone."""

    id: str
    object: Literal["event"] = "event"
    created_at: int  # unix seconds
    type: WebhookEventType
    data: WebhookEventData

    def body(self) -> bytes:
        return self.model_dump_json().encode()
