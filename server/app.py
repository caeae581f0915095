"""The API: the relay, routers, layers, error handlers — wiring only."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from server import health
from server.adapter_imports import routes as model_imports
from server.adapter_imports.desk import ImportDesk
from server.auth.api_keys import find_project
from server.auth.authenticator import Authenticator
from server.batches import routes as batches
from server.bootstrap import Services, build_export_desk, build_front_desk, build_webhook_sender
from server.chat.operation import CHAT
from server.checkpoint_permissions import routes as checkpoint_permissions
from server.completion_exports import routes as completion_exports
from server.completions.operation import COMPLETIONS
from server.db.access_version import AccessVersion
from server.db.remembered import Remembered
from server.embeddings.operation import EMBEDDINGS
from server.error_answers import answer_errors
from server.files import routes as files
from server.fine_tuning import estimate_routes as estimates
from server.fine_tuning import routes as fine_tuning
from server.fine_tuning.dry_runs.estimating import EstimateDesk
from server.fine_tuning.service import Offer
from server.idempotency.running import RunningKeys
from server.limits import JsonBodies
from server.metering import routes as usage
from server.metering.folding import Folder
from server.metrics import routes as metrics
from server.models import alias_routes as model_aliases
from server.models import archive_routes as model_archives
from server.models import routes as models
from server.models.resolving import find_servable
from server.moderations import routes as moderations
from server.relay.accounts import Caller
from server.relay.background_desk import ENGINE_FIELDS, BackgroundDesk
from server.relay.cache_salt import CacheSalts, load_salt_key
from server.relay.front_desk import FrontDesk
from server.relay.inner_door import InnerDoor
from server.relay.operation import Operation
from server.relay.protocol import relaying_protocol
from server.relay.relay import Relay
from server.relay.targets import Targets
from server.request_ids import RequestIds
from server.responses import routes as responses
from server.responses.background import BackgroundResponses, FindCaller
from server.responses.counting import build_counting
from server.responses.desk import ResponseDesk
from server.responses.operation import PATH as RESPONSES
from server.responses.operation import build_operation
from server.responses.retention import Retention
from server.stored_completions import routes as stored_completions
from server.stored_completions.keeping import CompletionKeeper
from server.tidying_up import tidy_up
from server.uploads import routes as uploads
from server.uploads.joining import Completions
from server.webhooks import delivery_routes as webhook_deliveries
from server.webhooks import routes as webhooks
from server.webhooks.desk import WebhookDesk

_BATCHED = (CHAT.path, COMPLETIONS.path, EMBEDDINGS.path, RESPONSES)
ROUTERS = (
    files,
    uploads,
    fine_tuning,
    estimates,
    checkpoint_permissions,
    models,
    model_aliases,
    model_archives,
    model_imports,
    moderations,
    responses,
    stored_completions,
    completion_exports,
    batches,
    webhooks,
    webhook_deliveries,
    usage,
    metrics,
    health,
)

_MOST_CALLERS, _MOST_MODELS = 10_000, 10_000  # that are remembered between requests
_STREAMED_UPLOADS = re.compile(r"POST /v1/(files|uploads/[^/]+/parts|tunesmith/model_imports)")


@dataclass(frozen=True)
class Api:
    """The public API, in two parts, as uvicorn's `Config` has it."""

    app: ASGIApp  # all but what is relayed
    http: type[asyncio.Protocol]  # which answers the rest itself
    inner: InnerDoor  # by which the worker asks


@dataclass(frozen=True)
class Relayed:
    """What the relay answers, and what it answers later."""

    operations: Sequence[Operation[Any]]
    from_within: Sequence[Operation[Any]]  # what batches ask for
    background: BackgroundResponses


def create_app(services: Services, *, tidies_up: bool = True) -> Api:
    """Build the public API: relayed routes on the connection itself, everything else behind FastAPI's router.

    `tidies_up`: whether it deletes at its start what was left over, which one process of several does.
    """
    desk = build_front_desk(services)
    organization = services.authenticator.default.slug
    relay = Relay(
        authenticate=services.authenticator.authenticate,
        version=AccessVersion(services.settings.database).read,
        callers=Remembered(most=_MOST_CALLERS),
        targets=Targets(
            find_model=partial(find_servable, services.database, services.base_models, services.settings.adapters),
            engines=services.engines,
            full_engines=services.full_engines,
            base_models=services.base_models,
            salts=CacheSalts(load_salt_key(services.settings.salt_key)),
            remembered=Remembered(most=_MOST_MODELS),
        ),
        organization=organization.encode("latin-1", errors="replace"),
        admission=desk,
    )
    find_caller = partial(_find_caller, services.database)
    relayed = build_relayed(services, relay, find_caller)
    rest = create_rest_app(services, desk, relayed.background, tidies_up=tidies_up)
    return Api(
        app=RequestIds(JsonBodies(rest, streaming=_STREAMED_UPLOADS), organization=organization),
        http=relaying_protocol(relay, relayed.operations, services.settings.max_chat_body_bytes),
        inner=InnerDoor(
            replace(relay, admission=BackgroundDesk(desk), engine_fields=ENGINE_FIELDS),
            {operation.path: operation for operation in relayed.from_within},
            find_caller=find_caller,
        ),
    )


def build_relayed(services: Services, relay: Relay, find_caller: FindCaller) -> Relayed:
    """Say which routes the relay answers."""
    settings = services.settings
    desk = ResponseDesk(
        services.database, Retention(settings.response_retention_days), settings.max_chat_body_bytes, time.time
    )
    chat = replace(CHAT, keep=CompletionKeeper(services.database, settings).keep)
    responding = build_operation(desk)
    background = BackgroundResponses(desk, services.locks, responding, relay.ask, find_caller)
    operations = (chat, COMPLETIONS, EMBEDDINGS, replace(responding, instead=background.take), build_counting(desk))
    return Relayed(operations, from_within=(chat, COMPLETIONS, EMBEDDINGS, responding), background=background)


def create_rest_app(
    services: Services,
    desk: FrontDesk | None = None,
    background: BackgroundResponses | None = None,
    *,
    tidies_up: bool = True,
) -> FastAPI:
    """Build everything but what is relayed, whose desk is kept going meanwhile."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if tidies_up:
            await run_in_threadpool(tidy_up, services)
        async with nullcontext() if desk is None else desk.running():
            if background is not None:
                background.start()
            yield
            if background is not None:
                await background.close()
        for engine in services.engines.values():
            await engine.close()
        await services.full_engines.close()

    app = FastAPI(
        title="Tunesmith",
        version="1",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    _share(app, services)
    for module in ROUTERS:
        app.include_router(module.router)
    answer_errors(app)
    return app


def _find_caller(database: Engine, project_id: str, key_id: str) -> Caller | None:
    """Who asked, for what is answered when no client waits."""
    return find_project(database, project_id, is_admin=False, key_id=key_id)


def _share(app: FastAPI, services: Services) -> None:
    """What routes and dependencies reach as `request.app.state`."""
    authenticator: Authenticator = services.authenticator
    app.state.authenticator = authenticator
    app.state.settings = services.settings
    app.state.database = services.database
    app.state.blobs = services.blobs
    app.state.base_models = services.base_models
    app.state.offer = Offer(
        services.base_models,
        on_gpu=services.planning.device == "cuda",
        room=services.planning.room,
        home=services.settings.home,
        max_rank=services.settings.max_lora_rank,
        adapters=services.settings.adapters,
    )
    app.state.engines = services.engines
    app.state.full_engines = services.full_engines
    app.state.estimates = EstimateDesk(
        database=services.database,
        blobs=services.blobs,
        launcher=services.launcher,
        planning=services.planning,
        root=services.settings.estimates,
        tokens=services.tokens,
        locks=services.locks,
    )
    app.state.export_desk = build_export_desk(services)
    app.state.model_imports = ImportDesk(services.settings.model_imports, services.locks)
    app.state.usage_folder = Folder(services.database, services.settings.usage)
    app.state.running_keys = RunningKeys(services.locks)
    app.state.completions = Completions(services.locks)
    app.state.response_retention = Retention(services.settings.response_retention_days)
    app.state.batch_endpoints = tuple(path.decode() for path in _BATCHED)
    app.state.webhook_desk = WebhookDesk(build_webhook_sender(services.settings))
