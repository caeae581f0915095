"""What is sent to webhook endpoints: a test, the kinds of events there are, and the log of deliveries."""

import time

from fastapi import APIRouter, Request

from server.auth.dependencies import CallerDep, ProjectDb
from server.errors import Busy, InvalidRequest, NotFound, responses
from server.pagination import AfterQuery, LimitQuery
from server.vocabulary import WebhookEventType
from server.webhooks import service
from server.webhooks.schemas import (
    ListWebhookDeliveriesResponse,
    ListWebhookEventTypesResponse,
    TestWebhookEndpointRequest,
    WebhookEndpointTestResult,
)
from server.webhooks.service import PageRequest
from server.webhooks.signing import secrets_of

router = APIRouter(prefix="/v1", tags=["Webhooks"])

_ONE = "/webhook_endpoints/{webhook_endpoint_id}"


@router.post(
    _ONE + "/test",
    operation_id="testWebhookEndpoint",
    responses=responses(InvalidRequest, NotFound, Busy),
)
def test_webhook_endpoint(
    webhook_endpoint_id: str, body: TestWebhookEndpointRequest, request: Request, db: ProjectDb
) -> WebhookEndpointTestResult:
    """Send a sample event at once, and say with which status it was answered. It is not tried again, nor in the log."""
    with db.read() as session:
        endpoint = service.retrieve_endpoint(session, webhook_endpoint_id)
    desk, signing = request.app.state.webhook_desk, secrets_of(endpoint, time.time())
    status_code = desk.send_test(db.project_id, endpoint.url, signing, body.event_type)
    return WebhookEndpointTestResult(
        webhook_endpoint_id=endpoint.id, event_type=body.event_type, status_code=status_code
    )


@router.get("/webhook_event_types", operation_id="listWebhookEventTypes", responses=responses())
def list_webhook_event_types(_caller: CallerDep) -> ListWebhookEventTypesResponse:
    """List the events that webhook endpoints can be told of."""
    return ListWebhookEventTypesResponse(data=list(WebhookEventType))


@router.get(
    "/tunesmith" + _ONE + "/deliveries",
    operation_id="listWebhookDeliveries",
    responses=responses(InvalidRequest, NotFound),
)
def list_webhook_deliveries(
    webhook_endpoint_id: str, db: ProjectDb, after: AfterQuery = None, limit: LimitQuery = 20
) -> ListWebhookDeliveriesResponse:
    """List what an endpoint was or is to be told, newest first: each try, what came of it, and when the next one is."""
    with db.read() as session:
        page = service.list_deliveries(session, webhook_endpoint_id, PageRequest(after, limit))
    return ListWebhookDeliveriesResponse.from_rows(page.rows, has_more=page.has_more)
