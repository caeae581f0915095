"""The worker's private way to the engines: both of its ends, over a real unix socket."""

import json
import threading
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from inference.engine import AdapterRef, AdapterRejected, EngineRefusal, EngineUnavailable
from inference.fake_engine import FakeEngine
from inference.report import AdapterReport
from inference.vllm.process import UnixConnection, is_ready
from server.control import ControlApp
from server.fine_tuning.publishing.adapter_check import AdapterCheck
from tests.adapter_files import refer_to, write_adapter


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine("tiny")


@pytest.fixture
def socket(engine: FakeEngine, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "c.sock"
    server = uvicorn.Server(
        uvicorn.Config(ControlApp({"tiny": engine}), uds=str(path), log_config=None, lifespan="off")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not path.exists() or not _answers(path):
        assert thread.is_alive()
    yield path
    server.should_exit = True
    thread.join(timeout=30)


@pytest.fixture
def adapter(tmp_path: Path) -> AdapterRef:
    return refer_to(write_adapter(tmp_path / "adapter"), "ft:tiny:acme::1", "tiny")


def test_a_verified_adapter_has_answered_a_request(socket: Path, engine: FakeEngine, adapter: AdapterRef) -> None:
    AdapterCheck(socket).verify(adapter)
    assert adapter.name in engine.resident
    assert [body["model"] for body in engine.bodies] == [adapter.name]


def test_an_adapter_that_will_never_serve_is_rejected_with_the_reason(
    socket: Path, engine: FakeEngine, adapter: AdapterRef
) -> None:
    (adapter.directory / "adapter_config.json").unlink()
    with pytest.raises(AdapterRejected, match=r"adapter_config\.json is missing"):
        AdapterCheck(socket).verify(adapter)
    assert engine.bodies == []


def test_an_adapter_with_which_the_engine_refuses_to_answer_is_rejected(
    socket: Path, engine: FakeEngine, adapter: AdapterRef
) -> None:
    engine.faults.refusal = EngineRefusal(400, b"{}")
    with pytest.raises(AdapterRejected):
        AdapterCheck(socket).verify(adapter)


def test_an_engine_that_fails_or_is_down_says_try_again(socket: Path, engine: FakeEngine, adapter: AdapterRef) -> None:
    engine.faults.refusal = EngineRefusal(500, b"{}")
    with pytest.raises(EngineUnavailable):
        AdapterCheck(socket).verify(adapter)
    engine.faults.unavailable = True
    with pytest.raises(EngineUnavailable):
        AdapterCheck(socket).verify(adapter)


def test_an_adapter_of_a_base_model_without_an_engine_waits_for_one(socket: Path, adapter: AdapterRef) -> None:
    with pytest.raises(EngineUnavailable):
        AdapterCheck(socket).verify(replace(adapter, base_model="other"))


def test_a_forgotten_adapter_is_not_resident(socket: Path, engine: FakeEngine, adapter: AdapterRef) -> None:
    check = AdapterCheck(socket)
    check.verify(adapter)
    check.forget("tiny", adapter.name)
    check.forget("tiny", adapter.name)
    assert engine.resident == {}


def test_an_api_process_that_is_not_there_says_try_again(tmp_path: Path, adapter: AdapterRef) -> None:
    with pytest.raises(EngineUnavailable):
        AdapterCheck(tmp_path / "nobody.sock").verify(adapter)


def test_the_operator_sees_what_each_engine_holds(socket: Path, engine: FakeEngine, adapter: AdapterRef) -> None:
    AdapterCheck(socket).verify(adapter)
    report = _get_engines(socket)["tiny"]
    (held,) = report.pop("adapters")
    assert report == {"ready": True, "detail": "ready", "rejected": [], "restoring": []}
    assert (held["name"], held["sha256"], held["proof"]) == (adapter.name, adapter.sha256, "none")
    assert set(held) == {field.name for field in fields(AdapterReport)}


def test_unknown_routes_are_not_found(socket: Path) -> None:
    assert not is_ready(socket), "/health is the engine's"


def _get_engines(path: Path) -> Any:
    connection = UnixConnection(path, 5)
    connection.request("GET", "/engines")
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def _answers(path: Path) -> bool:
    connection = UnixConnection(path, 5)
    try:
        connection.request("GET", "/engines")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
