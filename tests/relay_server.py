"""The chat relay on loopback, in a thread, before any engine; tests talk to it with the official client."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import openai
import uvicorn
from starlette.types import Receive, Scope, Send

from inference.engine import AdapterRef, InferenceEngine
from server.auth.caller import ProjectLimits
from server.base_models import BaseModelEntry, BaseModels
from server.chat.operation import CHAT
from server.db.remembered import Remembered
from server.errors import Unauthenticated
from server.models.resolving import Servable
from server.relay.accounts import Admission, OpenDoor
from server.relay.cache_salt import CacheSalts
from server.relay.protocol import relaying_protocol
from server.relay.relay import Relay
from server.relay.targets import Targets

T = TypeVar("T")
KEYS = {"Bearer key-of-mine": "mine", "Bearer key-of-theirs": "theirs"}


@dataclass(frozen=True)
class TestCaller:
    project_id: str
    slug: str = "acme"
    key_id: str = "key_1"
    organization_id: str = "org-1"
    limits: ProjectLimits = field(default_factory=ProjectLimits)


@dataclass
class RelayServer:
    """Use it as a context; its engine lives on its event loop, where `run` takes you."""

    make_engine: Callable[[], InferenceEngine]
    base: BaseModelEntry
    models: dict[tuple[str, str], AdapterRef] = field(default_factory=dict)  # by project and name
    max_body_bytes: int = 1024 * 1024
    admission: Admission = field(default_factory=OpenDoor)

    def add_model(self, adapter: AdapterRef, project: str = "mine") -> AdapterRef:
        self.models[project, adapter.name] = adapter
        return adapter

    def client(self, key: str = "key-of-mine") -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=120, _strict_response_validation=True
        )

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 120) -> T:
        """Run on the event loop of the engine."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def call(self, work: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(work)

    def stop(self) -> None:
        """Tell it to end, and wait for nothing."""
        self._server.should_exit = True

    def __enter__(self) -> "RelayServer":
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._versions = 0
        self.engine = self.make_engine()
        names = (self.base.name, *self.base.aliases)
        targets = Targets(
            find_model=self._find_model,
            engines={self.base.name: self.engine},
            full_engines={},
            base_models=BaseModels((self.base,), dict.fromkeys(names, self.base)),
            salts=CacheSalts(b"salt key"),
            remembered=Remembered(most=10),
        )
        relay = Relay(
            authenticate=_authenticate,
            version=self._version,
            callers=Remembered(most=10),
            targets=targets,
            admission=self.admission,
            organization=b"acme",
        )
        http = relaying_protocol(relay, [CHAT], self.max_body_bytes)
        config = uvicorn.Config(_nothing_else, http=http, log_config=None, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join(timeout=30)
        self._socket.close()

    def _version(self) -> int:
        """What this server knows may change at any time, unnoticed."""
        self._versions += 1
        return self._versions

    def _find_model(self, project: str, name: str) -> Servable | None:
        adapter = self.models.get((project, name))
        return None if adapter is None else Servable(adapter.base_model, adapter)

    def _serve(self) -> None:
        self._loop.run_until_complete(self._server.serve(sockets=[self._socket]))
        self._loop.run_until_complete(self.engine.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


async def _nothing_else(_scope: Scope, _receive: Receive, send: Send) -> None:
    """The ASGI app beside the relay."""
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


def _authenticate(headers: Iterable[tuple[bytes, bytes]]) -> TestCaller:
    project = KEYS.get(dict(headers).get(b"authorization", b"").decode())
    if project is None:
        raise Unauthenticated("Incorrect API key provided.", code="invalid_api_key")
    return TestCaller(project)
