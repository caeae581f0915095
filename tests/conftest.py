"""Fixtures shared by all tests: an API on loopback, and clients of two projects."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest
import uvicorn
from sqlalchemy import Engine

from inference.fake_engine import FakeEngine
from server.app import create_app
from server.auth.api_keys import create_key
from server.bootstrap import Services, build_services
from server.ids import ProjectId
from server.settings import Settings

ADMIN_KEY = "the admin key"


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


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One for all tests; each makes what it needs and looks at nothing else."""
    home = tmp_path_factory.mktemp("home")
    engine = FakeEngine("tunesmith-demo", reads_files=False)
    services = build_services(make_settings(home), {"tunesmith-demo": engine})
    mine, theirs = (create_key(services.database, name).plaintext for name in ("mine", "theirs"))
    project_id = services.authenticator.authenticate([(b"authorization", b"Bearer " + mine.encode())]).project_id
    with serving(services) as url:
        yield Api(url, services, engine, mine, theirs, project_id)
    services.database.dispose()


@pytest.fixture
def client(api: Api) -> Iterator[openai.OpenAI]:
    with api.client() as client:
        yield client


@pytest.fixture
def stranger(api: Api) -> Iterator[openai.OpenAI]:
    """A client of another project."""
    with api.client(api.foreign_key) as client:
        yield client


@pytest.fixture
def http(api: Api) -> Iterator[httpx.Client]:
    """What the official client would never send."""
    with api.http() as client:
        yield client


def make_settings(home: Path, **overrides: object) -> Settings:
    values = {"home": home, "admin_key": ADMIN_KEY, "max_file_bytes": 4 * 1024**2} | overrides
    return Settings(**values)  # type: ignore[arg-type]


class serving:
    """Serve an API on a free port of loopback, in a thread."""

    def __init__(self, services: Services) -> None:
        app = create_app(services)
        self._server = uvicorn.Server(uvicorn.Config(app, http="httptools", log_config=None, lifespan="on"))
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
