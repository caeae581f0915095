"""Settings → services: what names an implementation of a port, with `engine_assembly`."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from sqlalchemy import Engine

from inference.engine import InferenceEngine
from inference.lending.borrower import Borrower
from inference.lending.lease import Books
from inference.vllm.process import find_device
from server.auth.api_keys import ensure_default_project
from server.auth.authenticator import Authenticator
from server.base_models import BaseModels, load_base_models
from server.batches.asking import ControlSocket
from server.batches.course import BatchServices
from server.completion_exports.desk import ExportDesk
from server.db.engine import open_database
from server.db.migrate import migrate
from server.engine_assembly import build_engines, build_full_engine, pool_engines
from server.fair_queue.gate import Gate
from server.fine_tuning.estimates.estimate import Planning
from server.fine_tuning.estimates.prices import load_prices
from server.fine_tuning.estimates.room import room_for_a_job
from server.fine_tuning.publishing.adapter_check import AdapterCheck
from server.fine_tuning.worker_services import WorkerServices
from server.launchers.launcher import Launcher
from server.launchers.local_process import LocalProcessLauncher
from server.metering.journal import Journal
from server.metering.meter import Meter
from server.name_locks import NameLocks
from server.observing.chat_metrics import shared_chat_metrics
from server.placement.board import EngineBoard, database_exchange
from server.placement.full_engines import FullEngines
from server.placement.machine import Served, find_placement, gpus_have_bfloat16
from server.placement.sizing import Placement
from server.rate_limits.limiter import RateLimiter
from server.rate_limits.shared_buckets import SharedBuckets
from server.relay.front_desk import FrontDesk, Tracing
from server.responses.retention import Retention
from server.responses.sweeping import ResponseSweep
from server.settings import Settings
from server.storage.blob_store import BlobStore
from server.storage.local_directory import LocalDirectory
from server.storage.token_cache import TokenCache
from server.sweeper import Sweeper
from server.webhooks.outside.resolving import resolve_absolute, resolve_local
from server.webhooks.outside.sending import Limits, Sender
from server.webhooks.outside.urls import Policy as WebhookPolicy

_ENGINE_ANSWERS = {"cpu": 256, "cuda": 512}  # twice what saturates an engine
_BESIDE_LIGHT = {"cpu": 8, "cuda": 64}  # what makes a step little longer
_BATCHES_BESIDE_LIVE = {"cpu": 1, "cuda": 16}
_WEBHOOK_CONNECT_S = 5.0
_TRACES_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@dataclass(frozen=True)
class Services:
    """What a process of the service works with."""

    settings: Settings
    database: Engine
    blobs: BlobStore
    base_models: BaseModels
    authenticator: Authenticator
    planning: Planning
    launcher: Launcher
    placement: Placement
    engines: Mapping[str, InferenceEngine] = field(default_factory=dict)  # by the base model's own name; API only
    full_engines: FullEngines = field(default_factory=lambda: FullEngines(_no_engine))  # likewise, by the model's name
    books: Mapping[str, Books] = field(default_factory=dict)  # likewise; who keeps the adapters, of the first one only

    @property
    def tokens(self) -> TokenCache:
        return TokenCache(self.settings.tokenized, limit_bytes=self.settings.token_cache_gib * 1024**3)

    @property
    def locks(self) -> NameLocks:
        return NameLocks(self.settings.locks)


def _no_engine(name: str) -> InferenceEngine:
    raise KeyError(name)


def build_services(settings: Settings, engines: Mapping[str, InferenceEngine] | None = None) -> Services:
    """Open the home directory, with the database brought to this version. Safe in several processes at once.

    Raises:
        BaseModelsInvalid, PricesInvalid, DatabaseTooNew: the message says what to do.
    """
    base_models = load_base_models(settings.base_models_file)
    placement = build_placement(settings, base_models)
    planning = build_planning(settings, placement)
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    migrate(settings.database)
    database = open_database(settings.database)
    default = ensure_default_project(database, settings.organization)
    return Services(
        settings=settings,
        database=database,
        blobs=build_blobs(settings),
        base_models=base_models,
        authenticator=Authenticator(database, default, settings.api_key, settings.admin_key),
        planning=planning,
        launcher=LocalProcessLauncher(),
        placement=placement,
        engines=engines or {},
    )


def build_placement(settings: Settings, base_models: BaseModels) -> Placement:
    """Look at the machine, for what may run beside what."""
    served = [Served(of.name, of.source, of.serve_quantized is not None) for of in base_models.entries]
    return find_placement(settings, has_gpu=find_device() == "cuda", base_models=served)


def build_planning(settings: Settings, placement: Placement) -> Planning:
    device = find_device()
    return Planning(
        room=room_for_a_job(placement.resources, device, allow_4bit=settings.allow_4bit),
        device=device,
        threads=settings.trainer_threads,
        max_rank=settings.max_lora_rank,
        bfloat16=device == "cuda" and gpus_have_bfloat16(),
        price=settings.price_per_million_tokens,
        currency=settings.currency,
        hosted=load_prices(settings.hosted_prices_file),
    )


def build_blobs(settings: Settings) -> BlobStore:
    return LocalDirectory(settings.blobs)


def build_api_services(settings: Settings, borrower: Borrower | None = None) -> Services:
    """Build the services of an API process, with its engines. `borrower`: of whom its adapters are; None: its own."""
    services = build_services(settings)
    engines = build_engines(settings, services.base_models, borrower)
    board = EngineBoard(database_exchange(services.database, f"api-{os.getpid()}"))
    return replace(
        services,
        engines=pool_engines(settings, engines, board),
        full_engines=FullEngines(partial(build_full_engine, settings, board)),
        books={} if borrower is not None else engines,
    )


def build_worker_services(settings: Settings) -> WorkerServices:
    """Build the services of the worker process."""
    services = build_services(settings)
    return WorkerServices(
        settings=settings,
        database=services.database,
        blobs=services.blobs,
        base_models=services.base_models,
        launcher=services.launcher,
        adapters=AdapterCheck(settings.control_socket),
        planning=services.planning,
        placement=services.placement,
        clock=time.time,
    )


def build_batch_services(services: WorkerServices) -> BatchServices:
    """What the worker runs batches with."""
    settings = services.settings
    places = settings.engine_answers or _ENGINE_ANSWERS[services.planning.device]
    return BatchServices(
        database=services.database,
        blobs=services.blobs,
        base_models=services.base_models,
        adapters=settings.adapters,
        root=settings.batches,
        ask=ControlSocket(settings.control_socket),
        most_at_once=settings.batch_requests or max(1, places // 4),
        most_body_bytes=settings.max_chat_body_bytes,
        clock=services.clock,
    )


def build_export_desk(services: Services) -> ExportDesk:
    """What makes training files of stored completions."""
    return ExportDesk(
        launcher=services.launcher,
        root=services.settings.exports,
        locks=services.locks,
        max_file_bytes=services.settings.max_file_bytes,
    )


def build_webhook_sender(settings: Settings) -> Sender:
    """What takes webhooks to their receivers, and looks at where those are."""
    policy = WebhookPolicy(allow_private=settings.webhook_allow_private, allow_http=settings.webhook_allow_http)
    resolve = resolve_local if settings.webhook_allow_private else resolve_absolute
    whole_s = settings.webhook_timeout_s
    return Sender(policy, resolve, Limits(whole_s=whole_s, connect_s=min(_WEBHOOK_CONNECT_S, whole_s)))


def build_front_desk(services: Services) -> FrontDesk:
    """What lets chat requests in and counts them. It belongs to one event loop."""
    settings = services.settings
    places = settings.engine_answers or _ENGINE_ANSWERS[services.planning.device]
    beside_light = settings.engine_answers_beside_light or _BESIDE_LIGHT[services.planning.device]
    beside_live = settings.batch_answers_beside_live or _BATCHES_BESIDE_LIVE[services.planning.device]
    return FrontDesk(
        limits=settings,
        meter=Meter(Journal(settings.usage), soon=_after_this_turn),
        limiter=RateLimiter(SharedBuckets(settings.rate_limits)),
        gates={
            name: Gate(
                _part(places, settings),
                beside_light=_part(beside_light, settings),
                background_beside_live=beside_live,
                max_wait_s=settings.max_queue_wait_s,
            )
            for name in services.engines
        },
        metrics=shared_chat_metrics(),
        tracing=_build_tracing(),
    )


def _after_this_turn(work: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(work)


def _part(places: int, settings: Settings) -> int:
    """Of one API process, rounded up."""
    return -(-places // settings.api_processes)


def _build_tracing() -> Tracing | None:
    """Only if somebody listens: OpenTelemetry's own variables say where."""
    if not any(os.environ.get(name) for name in _TRACES_ENDPOINTS):
        return None
    from server.observing.tracing import OtlpTracing

    return OtlpTracing()


def build_sweeper(services: Services | WorkerServices) -> Sweeper:
    settings = services.settings
    retention = Retention(settings.response_retention_days, settings.response_mib)
    responses = ResponseSweep(services.database, retention, time.time)
    further = (responses.delete_old, responses.delete_beyond_bound)
    return Sweeper(services.database, services.blobs, services.tokens, settings, further=further)
