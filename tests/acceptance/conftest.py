"""Real processes, the real trainer and the real engine, on the demo model; nothing here is faked."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from tests.service import Service

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))  # the quickstart's task


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.service)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(480))


@contextmanager
def running_service(environment: Mapping[str, str] | None = None) -> Iterator[Service]:
    """A service that was started, and leaves nothing behind."""
    service = Service()
    service.environment.update(environment or {})
    try:
        service.start()
        yield service
        service.interrupt()
        service.assert_no_orphans()
    finally:
        service.stop()


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """One for all tests that leave it running; each makes what it needs and looks at nothing else."""
    with running_service() as service:
        yield service


@pytest.fixture(scope="session")
def client(service: Service) -> Iterator[openai.OpenAI]:
    with service.client() as client:
        yield client


@pytest.fixture(scope="session")
def stranger(service: Service) -> Iterator[openai.OpenAI]:
    """A client of another project."""
    with service.client(service.new_key("theirs")) as client:
        yield client
