"""/v1/webhook_endpoints"""

import time

from fastapi import APIRouter, Request
from fastapi.responses import Response

from server.auth.dependencies import CallerDep, ProjectDb
from server.db.project_session import ProjectSession
from server.errors import Busy, Conflict, InvalidRequest, NotFound, responses
from server.idempotency.asked import Asked
from server.idempotency.dependencies import OnceDep, UnkeyedOnceDep
from server.pagination import AfterQuery, LimitQuery
from server.webhooks import repository, service
from server.webhooks.desk import WebhookDesk
from server.webhooks.schemas import (
    CreateWebhookEndpointRequest,
    DeletedWebhookEndpoint,
    ListWebhookEndpointsResponse,
    RotateWebhookSecretRequest,
    UpdateWebhookEndpointRequest,
    WebhookEndpoint,
    WebhookEndpointWithSecret,
)
from server.webhooks.service import PageRequest

router = APIRouter(prefix="/v1/webhook_endpoints", tags=["Webhooks"])

_ONE = "/{webhook_endpoint_id}"


@router.post(
    "",
    operation_id="createWebhookEndpoint",
    response_model=WebhookEndpointWithSecret,
    responses=responses(InvalidRequest, Conflict, Busy),
)
def create_webhook_endpoint(
    body: CreateWebhookEndpointRequest, request: Request, caller: CallerDep, once: OnceDep
) -> Response:
    """Have a URL told of events. The signing secret is shown here and when it is rotated, and nowhere else."""
    most = request.app.state.settings.webhook_max_endpoints

    def make(session: ProjectSession) -> WebhookEndpointWithSecret:
        return WebhookEndpointWithSecret.from_row(service.create_endpoint(session, body, most=most, now=time.time()))

    with once.alone():
        _desk(request).check_url(caller.project_id, body.url)
        return once.create(Asked("createWebhookEndpoint", body), make=make, find=_find_with_secret).render()


@router.get("", operation_id="listWebhookEndpoints", responses=responses(InvalidRequest))
def list_webhook_endpoints(
    db: ProjectDb, after: AfterQuery = None, limit: LimitQuery = 20
) -> ListWebhookEndpointsResponse:
    """List the project's webhook endpoints, newest first."""
    with db.read() as session:
        page = service.list_endpoints(session, PageRequest(after, limit))
    return ListWebhookEndpointsResponse.from_rows(page.rows, has_more=page.has_more)


@router.get(_ONE, operation_id="retrieveWebhookEndpoint", responses=responses(NotFound))
def retrieve_webhook_endpoint(webhook_endpoint_id: str, db: ProjectDb) -> WebhookEndpoint:
    """Describe a webhook endpoint."""
    with db.read() as session:
        return WebhookEndpoint.from_row(service.retrieve_endpoint(session, webhook_endpoint_id))


@router.post(
    _ONE,
    operation_id="updateWebhookEndpoint",
    response_model=WebhookEndpoint,
    responses=responses(InvalidRequest, NotFound, Conflict, Busy),
)
def update_webhook_endpoint(
    webhook_endpoint_id: str,
    body: UpdateWebhookEndpointRequest,
    request: Request,
    db: ProjectDb,
    once: OnceDep,
) -> Response:
    """Change what is named of a webhook endpoint. What is still to be delivered goes to its new URL."""
    asked = Asked("updateWebhookEndpoint", {"id": webhook_endpoint_id, **body.model_dump(mode="json")})

    def update(session: ProjectSession) -> WebhookEndpoint:
        return WebhookEndpoint.from_row(service.update_endpoint(session, webhook_endpoint_id, body, now=time.time()))

    def find(session: ProjectSession, endpoint_id: str) -> WebhookEndpoint:
        return WebhookEndpoint.from_row(service.retrieve_endpoint(session, endpoint_id))

    with once.alone():
        with db.read() as session:
            service.retrieve_endpoint(session, webhook_endpoint_id)  # before a word is said about the URL
        if body.url is not None:
            _desk(request).check_url(db.project_id, body.url)
        return once.act(asked, do=update, find=find).render()


@router.delete(
    _ONE,
    operation_id="deleteWebhookEndpoint",
    response_model=DeletedWebhookEndpoint,
    responses=responses(NotFound),
)
def delete_webhook_endpoint(webhook_endpoint_id: str, once: UnkeyedOnceDep) -> Response:
    """Delete a webhook endpoint with its log. What was still to be delivered is not."""

    def delete(session: ProjectSession) -> DeletedWebhookEndpoint:
        service.delete_endpoint(session, webhook_endpoint_id)
        return DeletedWebhookEndpoint(id=webhook_endpoint_id)

    def find(_session: ProjectSession, deleted: str) -> DeletedWebhookEndpoint:
        return DeletedWebhookEndpoint(id=deleted)

    return once.act(Asked("deleteWebhookEndpoint", {"id": webhook_endpoint_id}), do=delete, find=find).render()


@router.post(
    _ONE + "/rotate_secret",
    operation_id="rotateWebhookEndpointSecret",
    response_model=WebhookEndpointWithSecret,
    responses=responses(InvalidRequest, NotFound, Conflict),
)
def rotate_webhook_endpoint_secret(
    webhook_endpoint_id: str, once: OnceDep, body: RotateWebhookSecretRequest | None = None
) -> Response:
    """Give a webhook endpoint a new signing secret. Until the old one ends, deliveries are signed with both."""
    keep_old = body is not None and body.keep_old_secret_active_for_24_hours
    asked = Asked("rotateWebhookEndpointSecret", {"id": webhook_endpoint_id, "keep_old": keep_old})

    def rotate(session: ProjectSession) -> WebhookEndpointWithSecret:
        row = service.rotate_secret(session, webhook_endpoint_id, keep_old=keep_old, now=time.time())
        return WebhookEndpointWithSecret.from_row(row)

    # As a create: a retry gets the secret that the first try made, and does not end it.
    return once.create(asked, make=rotate, find=_find_with_secret).render()


def _desk(request: Request) -> WebhookDesk:
    desk: WebhookDesk = request.app.state.webhook_desk
    return desk


def _find_with_secret(session: ProjectSession, endpoint_id: str) -> WebhookEndpointWithSecret | None:
    row = repository.find_endpoint(session, endpoint_id)
    return None if row is None else WebhookEndpointWithSecret.from_row(row)
