"""What `VllmEngine` does beyond the port's promises: residency acted out, against a small server like vLLM."""

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inference.adapter_files import WEIGHTS
from inference.base_shapes import read_base_shapes
from inference.engine import CHAT_PATH, AdapterRef, AdapterRejected, EngineRequest, EngineUnavailable
from inference.vllm.adapters import AdapterLimits
from inference.vllm.engine import VllmEngine
from inference.vllm.loading import AdapterChecks
from tests.adapter_files import refer_to, write_adapter, write_tensors
from tests.chunks import answer_of, chunks_of
from tests.fake_vllm import FakeVllm
from tests.inference.test_adapter_files import POISONED, make_base

pytestmark = pytest.mark.anyio
MAX_RESIDENT = 3


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def vllm(tmp_path: Path) -> AsyncIterator[FakeVllm]:
    vllm = FakeVllm(tmp_path / "e.sock", cpu_adapters=MAX_RESIDENT + 2)
    await vllm.start()
    yield vllm
    await vllm.stop()


@pytest.fixture
async def engine(vllm: FakeVllm) -> AsyncIterator[VllmEngine]:
    engine = make_engine(vllm)
    yield engine
    await engine.close()


def make_engine(vllm: FakeVllm, **limits: float) -> VllmEngine:
    times = {"room_timeout_s": 5.0, "drain_timeout_s": 0.1, **limits}
    return VllmEngine(
        base_model="base", socket=vllm.socket, limits=AdapterLimits(max_resident=MAX_RESIDENT, max_rank=16, **times)
    )


def make_adapter(root: Path, number: int, second_factor: bytes = b"\x01") -> AdapterRef:
    directory = write_adapter(root / f"adapter-{number}", second_factor=second_factor)
    return refer_to(directory, f"ft:base:acme::{number}", "base")


def request_for(adapter: AdapterRef, *, stream: bool = False) -> EngineRequest:
    body = {"model": adapter.name, "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
    return EngineRequest(CHAT_PATH, json.dumps(body).encode(), stream)


async def ask(engine: VllmEngine, adapter: AdapterRef) -> str:
    return str(json.loads(await answer_of(engine, request_for(adapter), adapter))["model"])


async def test_requests_at_once_for_one_adapter_load_it_once(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path, 1)
    assert await asyncio.gather(*(ask(engine, adapter) for _ in range(20))) == [adapter.name] * 20
    assert vllm.loads == [adapter.name]


async def test_many_adapters_at_once_never_hold_more_names_than_allowed(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapters = [make_adapter(tmp_path, n % 10) for n in range(60)]
    assert await asyncio.gather(*(ask(engine, a) for a in adapters)) == [a.name for a in adapters]
    assert vllm.most_loaded <= MAX_RESIDENT


async def test_an_evicted_adapter_whose_files_are_gone_is_rejected_and_the_engine_lives(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapters = [make_adapter(tmp_path, n) for n in range(8)]
    for adapter in adapters:
        await ask(engine, adapter)
    shutil.rmtree(adapters[0].directory)
    with pytest.raises(AdapterRejected):
        await ask(engine, adapters[0])
    assert await ask(engine, adapters[7]) == adapters[7].name
    assert not vllm.is_dead


async def test_forgetting_many_never_makes_the_engine_read_the_files_of_a_resident_one(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    """The engine keeps what it unloaded: uncounted, the forgotten ones would push the resident one out."""
    resident = make_adapter(tmp_path, 100)
    await ask(engine, resident)
    shutil.rmtree(resident.directory)
    for number in range(10):
        forgotten = make_adapter(tmp_path, number)
        await ask(engine, forgotten)
        await engine.forget_adapter(forgotten.name)
    with pytest.raises(AdapterRejected):
        await ask(engine, resident)
    assert not vllm.is_dead


async def test_a_load_waits_for_a_place_and_gets_it(engine: VllmEngine, vllm: FakeVllm, tmp_path: Path) -> None:
    vllm.hold = asyncio.Event()
    busy = [asyncio.create_task(ask(engine, make_adapter(tmp_path, n))) for n in range(MAX_RESIDENT)]
    await eventually_running(vllm, MAX_RESIDENT)
    waiting = asyncio.create_task(ask(engine, make_adapter(tmp_path, 9)))
    await asyncio.sleep(0)
    vllm.hold.set()
    assert await waiting == "ft:base:acme::9"
    await asyncio.gather(*busy)
    assert vllm.most_loaded <= MAX_RESIDENT


async def test_a_load_that_finds_no_place_in_time_says_try_again(vllm: FakeVllm, tmp_path: Path) -> None:
    engine = make_engine(vllm, room_timeout_s=0.1)
    vllm.hold = asyncio.Event()
    busy = [asyncio.create_task(ask(engine, make_adapter(tmp_path, n))) for n in range(MAX_RESIDENT)]
    await eventually_running(vllm, MAX_RESIDENT)
    with pytest.raises(EngineUnavailable, match="in use"):
        await ask(engine, make_adapter(tmp_path, 9))
    vllm.hold.set()
    await asyncio.gather(*busy)
    await engine.close()


async def test_an_adapter_the_engine_loads_but_does_not_apply_is_rejected(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    vllm.ignores_adapters = True
    adapter = make_adapter(tmp_path, 1)
    with pytest.raises(AdapterRejected, match="does not apply it"):
        await ask(engine, adapter)
    assert adapter.name not in vllm.loaded


async def test_an_adapter_whose_probabilities_are_no_numbers_is_rejected_and_leaves_no_place_taken(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapters = [make_adapter(tmp_path, n) for n in range(2 * MAX_RESIDENT)]
    vllm.babbling = {adapter.name for adapter in adapters}
    for adapter in adapters:
        with pytest.raises(AdapterRejected):
            await ask(engine, adapter)
    sound = make_adapter(tmp_path, 99)
    assert await ask(engine, sound) == sound.name


async def test_an_adapter_that_changes_nothing_is_served(engine: VllmEngine, vllm: FakeVllm, tmp_path: Path) -> None:
    vllm.ignores_adapters = True
    adapter = make_adapter(tmp_path, 1, second_factor=b"\0")
    assert await ask(engine, adapter) == adapter.name


async def test_an_adapter_with_numbers_that_are_none_never_reaches_the_engine(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    with pytest.raises(AdapterRejected, match="not finite"):
        await ask(engine, make_adapter(tmp_path, 1, second_factor=b"\xff"))
    assert vllm.loads == []


async def test_no_poisoned_adapter_reaches_the_engine(vllm: FakeVllm, tmp_path: Path) -> None:
    shapes = read_base_shapes(make_base(tmp_path / "base"))
    limits, checks = AdapterLimits(max_resident=MAX_RESIDENT, max_rank=16), AdapterChecks(lambda: shapes)
    engine = VllmEngine(base_model="base", socket=vllm.socket, limits=limits, checks=checks)
    await ask(engine, make_adapter(tmp_path, 1))
    for number, (tensors, _) in enumerate(POISONED.values(), start=2):
        directory = make_adapter(tmp_path, number).directory
        write_tensors(directory / WEIGHTS, tensors)
        adapter = refer_to(directory, f"ft:base:acme::{number}", "base")
        with pytest.raises(AdapterRejected):
            await ask(engine, adapter)
    assert vllm.loads == ["ft:base:acme::1"]
    await engine.close()


async def test_a_stream_that_ends_politely_before_its_end_is_still_broken_off(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    vllm.break_after_chunks, vllm.breaks_off_politely = 3, True
    adapter = make_adapter(tmp_path, 1)
    chunks = chunks_of(engine, request_for(adapter, stream=True), adapter)
    assert await anext(chunks)
    with pytest.raises(EngineUnavailable, match="before its end"):
        [chunk async for chunk in chunks]


async def test_a_new_engine_process_is_noticed_and_adapters_are_loaded_again(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path, 1)
    await ask(engine, adapter)
    await vllm.restart()
    assert await ask(engine, adapter) == adapter.name
    assert vllm.loads == [adapter.name] * 2


async def test_what_an_earlier_process_of_ours_left_in_the_engine_is_unloaded(vllm: FakeVllm, tmp_path: Path) -> None:
    first, second = make_engine(vllm), make_engine(vllm)
    for number in range(MAX_RESIDENT):
        await ask(first, make_adapter(tmp_path, number))
    await first.close()
    adapter = make_adapter(tmp_path, 9)
    assert await ask(second, adapter) == adapter.name
    assert set(vllm.loaded) == {adapter.name}
    await second.close()


async def test_an_adapter_the_engine_lost_is_loaded_again_within_the_request(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path, 1)
    await ask(engine, adapter)
    vllm.loaded.clear()
    assert await ask(engine, adapter) == adapter.name


async def test_a_name_taken_by_a_load_whose_answer_was_lost_is_loaded_anew(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    await ask(engine, make_adapter(tmp_path, 1))
    adapter = make_adapter(tmp_path, 2)
    vllm.loaded[adapter.name] = adapter.directory
    assert await ask(engine, adapter) == adapter.name


async def test_a_dying_engine_is_no_fault_of_the_adapter(engine: VllmEngine, vllm: FakeVllm, tmp_path: Path) -> None:
    vllm.is_dead = True
    with pytest.raises(EngineUnavailable):
        await ask(engine, make_adapter(tmp_path, 1))


async def test_forgetting_ends_an_answer_that_takes_too_long_with_an_error(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path, 1)
    vllm.hold = asyncio.Event()
    chunks = chunks_of(engine, request_for(adapter, stream=True), adapter)
    assert await anext(chunks)
    await engine.forget_adapter(adapter.name)
    assert adapter.name not in vllm.loaded
    with pytest.raises(EngineUnavailable):
        await anext(chunks)
    await chunks.aclose()


async def test_a_dead_engine_holds_nothing_though_its_socket_is_still_there(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path, 1)
    await ask(engine, adapter)
    await vllm.stop()
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(vllm.socket))
    await engine.forget_adapter(adapter.name)
    await vllm.start()


async def test_nobody_gets_in_while_an_adapter_is_being_forgotten(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path, 1)
    vllm.hold = asyncio.Event()
    chunks = chunks_of(engine, request_for(adapter, stream=True), adapter)
    assert await anext(chunks)
    forgetting = asyncio.create_task(engine.forget_adapter(adapter.name))
    await asyncio.sleep(0)
    with pytest.raises(AdapterRejected, match="being removed"):
        await ask(engine, adapter)
    await chunks.aclose()
    await forgetting
    vllm.hold.set()
    assert await ask(engine, adapter) == adapter.name, "the door opens again: the server says who may come in"


async def test_one_who_gives_up_waiting_does_not_spoil_the_load_for_others(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path, 1)
    vllm.hold_loads = asyncio.Event()
    first, second = (asyncio.create_task(ask(engine, adapter)) for _ in range(2))
    async with asyncio.timeout(10):
        while not vllm.loads:
            await asyncio.sleep(0.01)
    first.cancel()
    vllm.hold_loads.set()
    assert await second == adapter.name
    assert vllm.loads == [adapter.name]
    for number in range(2, 2 + MAX_RESIDENT):
        await ask(engine, make_adapter(tmp_path, number))
    assert adapter.name not in vllm.loaded, "whoever gave up holds no pin"


async def eventually_running(vllm: FakeVllm, answers: int) -> None:
    async with asyncio.timeout(10):
        while vllm.running < answers:
            await asyncio.sleep(0.01)
