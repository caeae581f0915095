"""An API on loopback, for tests, and what is behind it."""

import socket
import threading
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import uvicorn
from sqlalchemy import Engine

from inference.fake_engine import FakeEngine
from server.app import create_app
from server.base_models import BaseModelEntry, BaseModels, Kind
from server.bootstrap import Services
from server.ids import ProjectId
from server.settings import Settings

ADMIN_KEY = "the admin key"
EMBEDDER = BaseModelEntry(name="tiny-embedder", source="x", context_length=512, kind=Kind.EMBEDDING)


@dataclass(frozen=True)
class Api:
    """A running API and what is behind it."""

    url: str  # ends with /v1
    services: Services
    engine: FakeEngine
    key: str  # of the project "mine"
    foreign_key: str  # of the project "theirs"
    project_id: ProjectId

    @property
    def database(self) -> Engine:
        return self.services.database

    def client(self, key: str | None = None) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=self.url, api_key=key or self.key, max_retries=0, _strict_response_validation=True
        )

    def http(self, key: str | None = None) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.key if key is None else key}"}
        return httpx.Client(base_url=self.url.removesuffix("/v1"), headers=headers, timeout=30)


def make_settings(home: Path, **overrides: object) -> Settings:
    values = {"home": home, "admin_key": ADMIN_KEY, "max_file_bytes": 4 * 1024**2} | overrides
    return Settings(**values)  # type: ignore[arg-type]


def with_embedder(base_models: BaseModels) -> BaseModels:
    """Offer one that gives embeddings, too."""
    return BaseModels((*base_models.entries, EMBEDDER), {**base_models.by_name, EMBEDDER.name: EMBEDDER})


class serving:
    """Serve an API on a free port of loopback, in a thread."""

    def __init__(self, services: Services) -> None:
        api = create_app(services)
        self._server = uvicorn.Server(uvicorn.Config(api.app, http=api.http, log_config=None, lifespan="on"))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self) -> str:
        self._thread.start()
        url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        httpx.get(url.removesuffix("/v1") + "/health", timeout=30)
        return url

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=30)
        self._socket.close()
