"""What every engine keeps of the port's promises: the fake one, and vLLM's on a small server that speaks its routes."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pytest

from inference.engine import (
    CHAT_PATH,
    AdapterRef,
    AdapterRejected,
    EngineRefusal,
    EngineRequest,
    EngineUnavailable,
    InferenceEngine,
)
from inference.fake_engine import FakeEngine
from inference.vllm.adapters import AdapterLimits
from inference.vllm.engine import VllmEngine
from tests.adapter_files import refer_to, write_adapter
from tests.chunks import answer_of, chunks_of
from tests.fake_vllm import FakeVllm

pytestmark = pytest.mark.anyio
MAX_RESIDENT = 4


class Rig(Protocol):
    """An engine, and the ways to make things go wrong behind it."""

    engine: InferenceEngine

    def break_off_after(self, chunks: int) -> None: ...
    def refuse(self, status: int, body: bytes) -> None: ...
    def hold(self, until: asyncio.Event) -> None: ...
    async def stop(self) -> None: ...
    def resident(self) -> set[str]: ...
    def running(self) -> int: ...


@dataclass
class FakeRig:
    engine: FakeEngine

    def break_off_after(self, chunks: int) -> None:
        self.engine.faults.break_after_chunks = chunks

    def refuse(self, status: int, body: bytes) -> None:
        self.engine.faults.refusal = EngineRefusal(status, body)

    def hold(self, until: asyncio.Event) -> None:
        self.engine.faults.hold = until

    async def stop(self) -> None:
        self.engine.faults.unavailable = True

    def resident(self) -> set[str]:
        return set(self.engine.resident)

    def running(self) -> int:
        return self.engine.running


@dataclass
class VllmRig:
    engine: VllmEngine
    vllm: FakeVllm

    def break_off_after(self, chunks: int) -> None:
        self.vllm.break_after_chunks = chunks

    def refuse(self, status: int, body: bytes) -> None:
        self.vllm.refusal = (status, body)

    def hold(self, until: asyncio.Event) -> None:
        self.vllm.hold = until

    async def stop(self) -> None:
        await self.vllm.stop()

    def resident(self) -> set[str]:
        return set(self.vllm.loaded)

    def running(self) -> int:
        return self.vllm.running


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["fake", "vllm"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    if request.param == "fake":
        yield FakeRig(FakeEngine("base"))
        return
    vllm = FakeVllm(tmp_path / "e.sock", cpu_adapters=MAX_RESIDENT + 2)
    await vllm.start()
    limits = AdapterLimits(max_resident=MAX_RESIDENT, max_rank=16, room_timeout_s=5, drain_timeout_s=0.2)
    engine = VllmEngine(base_model="base", socket=vllm.socket, limits=limits)
    yield VllmRig(engine, vllm)
    await engine.close()
    await vllm.stop()


@pytest.fixture
def adapter(tmp_path: Path) -> AdapterRef:
    return refer_to(write_adapter(tmp_path / "adapter"), "ft:base:acme::1", "base")


def request_for(model: str, *, stream: bool = False) -> EngineRequest:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
    return EngineRequest(CHAT_PATH, json.dumps(body).encode(), stream)


async def ask(engine: InferenceEngine, adapter: AdapterRef | None, *, stream: bool = False) -> bytes:
    request = request_for(adapter.name if adapter is not None else "base", stream=stream)
    return await answer_of(engine, request, adapter)


async def test_the_base_answers_whole_and_as_a_stream_that_ends(rig: Rig) -> None:
    assert json.loads(await ask(rig.engine, None))["model"] == "base"
    assert (await ask(rig.engine, None, stream=True)).endswith(b"data: [DONE]\n\n")


async def test_an_adapter_is_loaded_at_its_first_request_and_answers_under_its_name(
    rig: Rig, adapter: AdapterRef
) -> None:
    assert rig.resident() == set()
    assert json.loads(await ask(rig.engine, adapter))["model"] == adapter.name
    assert rig.resident() == {adapter.name}


async def test_ensuring_an_adapter_twice_is_ensuring_it_once(rig: Rig, adapter: AdapterRef) -> None:
    await rig.engine.ensure_adapter(adapter)
    await rig.engine.ensure_adapter(adapter)
    assert rig.resident() == {adapter.name}


async def test_an_adapter_without_its_files_is_rejected_and_others_are_served(rig: Rig, adapter: AdapterRef) -> None:
    missing = refer_to(adapter.directory / "missing", "ft:base:acme::2", "base")
    with pytest.raises(AdapterRejected):
        await rig.engine.ensure_adapter(missing)
    with pytest.raises(AdapterRejected):
        await ask(rig.engine, missing)
    assert json.loads(await ask(rig.engine, adapter))["model"] == adapter.name


async def test_an_adapter_of_another_base_is_rejected(rig: Rig, adapter: AdapterRef) -> None:
    with pytest.raises(AdapterRejected):
        await rig.engine.ensure_adapter(replace(adapter, base_model="another"))


async def test_weights_that_are_not_the_published_ones_are_rejected(rig: Rig, adapter: AdapterRef) -> None:
    with pytest.raises(AdapterRejected):
        await rig.engine.ensure_adapter(replace(adapter, sha256="0" * 64))
    assert rig.resident() == set()


async def test_an_engine_tells_its_operator_what_it_holds(rig: Rig, adapter: AdapterRef) -> None:
    await rig.engine.ensure_adapter(adapter)
    report = await rig.engine.report()
    assert report.ready
    assert [(one.name, one.sha256, one.pins) for one in report.adapters] == [(adapter.name, adapter.sha256, 0)]
    await rig.stop()
    assert not (await rig.engine.report()).ready


async def test_a_resident_adapter_answers_though_its_files_are_gone(rig: Rig, adapter: AdapterRef) -> None:
    await rig.engine.ensure_adapter(adapter)
    shutil.rmtree(adapter.directory)
    assert json.loads(await ask(rig.engine, adapter))["model"] == adapter.name


async def test_a_forgotten_adapter_is_not_resident_and_forgetting_again_changes_nothing(
    rig: Rig, adapter: AdapterRef
) -> None:
    await rig.engine.ensure_adapter(adapter)
    await rig.engine.forget_adapter(adapter.name)
    await rig.engine.forget_adapter(adapter.name)
    assert rig.resident() == set()
    shutil.rmtree(adapter.directory)
    with pytest.raises(AdapterRejected):
        await ask(rig.engine, adapter)
    assert json.loads(await ask(rig.engine, None))["model"] == "base"


async def test_what_the_engine_refuses_is_given_as_it_is(rig: Rig) -> None:
    rig.refuse(400, b'{"error": {"message": "no"}}')
    for stream in (False, True):
        with pytest.raises(EngineRefusal) as caught:
            await ask(rig.engine, None, stream=stream)
        assert (caught.value.status, json.loads(caught.value.body)) == (400, {"error": {"message": "no"}})


async def test_an_engine_that_is_not_there_is_unavailable_and_says_so(rig: Rig, adapter: AdapterRef) -> None:
    assert (await rig.engine.health()).ready
    await rig.stop()
    assert not (await rig.engine.health()).ready
    with pytest.raises(EngineUnavailable):
        await ask(rig.engine, None)
    with pytest.raises(EngineUnavailable):
        await rig.engine.ensure_adapter(adapter)
    await rig.engine.forget_adapter(adapter.name)


async def test_a_stream_that_breaks_off_never_ends_cleanly(rig: Rig) -> None:
    rig.break_off_after(2)
    with pytest.raises(EngineUnavailable):
        await ask(rig.engine, None, stream=True)


async def test_a_whole_answer_that_breaks_off_is_not_given(rig: Rig) -> None:
    rig.break_off_after(0)
    with pytest.raises(EngineUnavailable):
        await ask(rig.engine, None)


async def test_closing_an_answer_cancels_it_in_the_engine(rig: Rig, adapter: AdapterRef) -> None:
    rig.hold(asyncio.Event())
    chunks = chunks_of(rig.engine, request_for(adapter.name, stream=True), adapter)
    assert await anext(chunks)
    assert rig.running() == 1
    await chunks.aclose()
    await eventually(lambda: rig.running() == 0)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)
