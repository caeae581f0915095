"""Fixtures shared by all tests: an API on loopback, and clients of two projects."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import hypothesis
import openai
import pytest

from inference.fake_engine import FakeEngine
from server.auth.api_keys import create_key
from server.bootstrap import Services, build_services
from server.launchers.in_memory import InMemoryLauncher
from server.launchers.launcher import Launcher
from tests.job_rig import MakeRig, Rig
from tests.method_rows import KeepRow, keep
from tests.played_runs import PlayedTrainer
from tests.running_api import EMBEDDER, Api, make_settings, serving, with_embedder

# The same examples each time, in whatever time they take: a busy machine is not a fault.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--method-rows", type=Path, default=None, help="keep the rows of docs/methods.md in this directory"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--method-rows`, the tests that keep a row, and no other."""
    if config.getoption("--method-rows") is None:
        return
    others = [item for item in items if "keep_row" not in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is not None:
        import torch  # slow, and no quick test needs it

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA GPU, and this machine has none")


@pytest.fixture(scope="session")
def keep_row(request: pytest.FixtureRequest) -> KeepRow:
    """`keep_row(method, adapter, **cells)`, of `tests.method_rows.MethodRow`."""
    return partial(keep, request.config.getoption("--method-rows"))


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One for all tests; each makes what it needs and looks at nothing else."""
    home = tmp_path_factory.mktemp("home")
    engine = FakeEngine("tunesmith-demo", reads_files=False)
    webhooks = {"webhook_allow_private": True, "webhook_allow_http": True, "webhook_max_endpoints": 1000}
    engines = {"tunesmith-demo": engine, EMBEDDER.name: FakeEngine(EMBEDDER.name)}
    services = build_services(make_settings(home, **webhooks), engines)
    base_models = with_embedder(services.base_models)
    services = replace(services, launcher=InMemoryLauncher(PlayedTrainer()), base_models=base_models)
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


@pytest.fixture
def make_rig(tmp_path: Path) -> Iterator[MakeRig]:
    made: list[Services] = []

    def make(launcher: Launcher | None = None, **settings: object) -> Rig:
        services = build_services(make_settings(tmp_path / "home", api_key="test key", **settings))
        made.append(services)
        return Rig(services, launcher or InMemoryLauncher(PlayedTrainer()))

    yield make
    for services in made:
        services.database.dispose()
