"""An engine process is replaced: its adapters are back before anybody asks, and in nobody's way."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from inference.engine import AdapterRejected
from inference.vllm.adapters import AdapterLimits
from inference.vllm.engine import VllmEngine
from tests.fake_vllm import FakeVllm
from tests.inference.test_vllm_engine import ask, make_adapter

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
    limits = AdapterLimits(max_resident=MAX_RESIDENT, max_rank=16, drain_timeout_s=0.1, watch_interval_s=0.01)
    engine = VllmEngine(base_model="base", socket=vllm.socket, limits=limits)
    yield engine
    await engine.close()


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def is_restored(engine: VllmEngine) -> None:
    async with asyncio.timeout(10):
        while (await engine.report()).restoring:
            await asyncio.sleep(0.01)


async def test_a_new_process_has_its_adapters_without_a_request_the_last_used_first(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapters = [make_adapter(tmp_path, number) for number in range(5)]
    for adapter in adapters:
        await ask(engine, adapter)
    vllm.loads.clear()
    await vllm.restart()
    await eventually(lambda: len(vllm.loaded) == MAX_RESIDENT)
    assert vllm.loads == [adapter.name for adapter in reversed(adapters[2:])]
    assert [report.name for report in (await engine.report()).adapters] == vllm.loads


async def test_nothing_is_loaded_before_the_new_process_is_ready(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    await ask(engine, make_adapter(tmp_path, 1))
    vllm.loads.clear()
    vllm.starts_dead = True
    await vllm.restart()
    await eventually(lambda: vllm.health_checks > 2)
    assert vllm.loads == []
    vllm.is_dead = False
    await eventually(lambda: len(vllm.loaded) == 1)


async def test_a_model_deleted_meanwhile_does_not_come_back(engine: VllmEngine, vllm: FakeVllm, tmp_path: Path) -> None:
    kept, deleted = make_adapter(tmp_path, 1), make_adapter(tmp_path, 2)
    await ask(engine, kept)
    await ask(engine, deleted)
    vllm.loads.clear()
    await vllm.stop()
    await engine.forget_adapter(deleted.name)
    shutil.rmtree(deleted.directory)
    await vllm.restart()
    await eventually(lambda: kept.name in vllm.loaded)
    await ask(engine, make_adapter(tmp_path, 3))
    assert deleted.name not in vllm.loads


async def test_a_model_deleted_between_death_and_notice_does_not_come_back(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    deleted = make_adapter(tmp_path, 1)
    await ask(engine, deleted)
    vllm.loads.clear()
    vllm.starts_dead = True
    await vllm.restart()
    await engine.forget_adapter(deleted.name)
    vllm.is_dead = False
    await is_restored(engine)
    await ask(engine, make_adapter(tmp_path, 2))
    assert deleted.name not in vllm.loads


async def test_an_adapter_that_is_broken_by_now_does_not_keep_the_others_away(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    sound, broken = make_adapter(tmp_path, 1), make_adapter(tmp_path, 2)
    await ask(engine, sound)
    await ask(engine, broken)
    shutil.rmtree(broken.directory)
    vllm.loads.clear()
    await vllm.restart()
    await eventually(lambda: sound.name in vllm.loaded)
    assert vllm.loads == [sound.name]
    with pytest.raises(AdapterRejected):
        await ask(engine, broken)


async def test_what_requests_load_meanwhile_makes_way_for_nothing_that_comes_back(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    old = [make_adapter(tmp_path, number) for number in range(MAX_RESIDENT)]
    for adapter in old:
        await ask(engine, adapter)
    vllm.loads.clear()
    vllm.hold_loads = asyncio.Event()
    await vllm.restart()
    new = [make_adapter(tmp_path, 10 + number) for number in range(MAX_RESIDENT)]
    asking = [asyncio.create_task(ask(engine, adapter)) for adapter in new]
    await eventually(lambda: bool(vllm.loads))
    vllm.hold_loads.set()
    await asyncio.gather(*asking)
    await is_restored(engine)
    assert set(vllm.loaded) >= {adapter.name for adapter in new}


async def test_a_second_death_in_the_middle_loses_nothing(engine: VllmEngine, vllm: FakeVllm, tmp_path: Path) -> None:
    adapters = [make_adapter(tmp_path, number) for number in range(MAX_RESIDENT)]
    for adapter in adapters:
        await ask(engine, adapter)
    vllm.loads.clear()
    vllm.hold_loads = asyncio.Event()
    await vllm.restart()
    await eventually(lambda: bool(vllm.loads))
    vllm.hold_loads = None
    await vllm.restart()
    await eventually(lambda: set(vllm.loaded) == {adapter.name for adapter in adapters})


async def test_closing_the_engine_ends_its_watch(vllm: FakeVllm, tmp_path: Path) -> None:
    limits = AdapterLimits(max_resident=1, max_rank=16, watch_interval_s=0.01)
    engine = VllmEngine(base_model="base", socket=vllm.socket, limits=limits)
    before = asyncio.all_tasks()
    await ask(engine, make_adapter(tmp_path, 1))
    assert any("_watch" in repr(task) for task in asyncio.all_tasks() - before)
    await engine.close()
    await eventually(lambda: not any("_watch" in repr(task) for task in asyncio.all_tasks() - before))
