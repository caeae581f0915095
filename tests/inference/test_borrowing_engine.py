"""Two `VllmEngine`s on one engine process: one keeps the adapters, the other borrows them of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from inference.engine import AdapterRejected, EngineUnavailable
from inference.lending.borrower import Borrower
from inference.lending.lender import Lender
from inference.vllm.adapters import AdapterLimits
from inference.vllm.engine import VllmEngine
from tests.chunks import chunks_of
from tests.fake_vllm import FakeVllm
from tests.inference.test_lending import until
from tests.inference.test_vllm_engine import MAX_RESIDENT, ask, make_adapter, make_engine, request_for

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Pair:
    vllm: FakeVllm
    keeper: VllmEngine
    lender: Lender
    borrowing: VllmEngine
    borrower: Borrower


@asynccontextmanager
async def make_pair(root: Path, **limits: float) -> AsyncIterator[Pair]:
    vllm = FakeVllm(root / "e.sock", cpu_adapters=MAX_RESIDENT + 2)
    await vllm.start()
    keeper = make_engine(vllm, **limits)
    lender = Lender({"base": keeper})
    await lender.start(root / "lending.sock")
    borrower = Borrower(root / "lending.sock", linger_s=60.0)
    connection = asyncio.create_task(borrower.run())
    nothing = AdapterLimits(max_resident=0, max_rank=0)  # it is not the one who decides
    borrowing = VllmEngine(base_model="base", socket=vllm.socket, limits=nothing, borrower=borrower)
    await until(lambda: borrower.is_connected)
    pair = Pair(vllm, keeper, lender, borrowing, borrower)
    yield pair
    if vllm.hold is not None:
        vllm.hold.set()
    await borrowing.close()
    connection.cancel()
    with suppress(asyncio.CancelledError):
        await connection
    await pair.lender.close(0.0)
    await keeper.close()
    await vllm.stop()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with make_pair(tmp_path) as pair:
        yield pair


async def read_some(chunks: object, count: int = 1) -> None:
    for _ in range(count):
        await anext(chunks)  # type: ignore[call-overload]


async def test_both_answer_with_one_adapter_that_is_loaded_once(pair: Pair, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path, 1)
    engines = [pair.keeper, pair.borrowing] * 10
    assert await asyncio.gather(*(ask(engine, adapter) for engine in engines)) == [adapter.name] * 20
    assert pair.vllm.loads == [adapter.name]


async def test_many_adapters_over_both_never_hold_more_names_than_allowed(tmp_path: Path) -> None:
    """What a borrower keeps for later makes way: else every load here would wait for its minute to end."""
    adapters = [make_adapter(tmp_path, n % 10) for n in range(60)]
    async with make_pair(tmp_path, room_timeout_s=20.0) as pair:  # sixty loads, beside other tests
        engines = [(pair.keeper, pair.borrowing)[n % 2] for n in range(60)]
        asked = zip(engines, adapters, strict=True)
        assert await asyncio.gather(*(ask(e, a) for e, a in asked)) == [a.name for a in adapters]
        assert pair.vllm.most_loaded <= MAX_RESIDENT


async def test_an_adapter_that_a_borrower_answers_with_is_not_evicted(tmp_path: Path) -> None:
    async with make_pair(tmp_path, room_timeout_s=0.05) as pair:
        pair.vllm.hold = asyncio.Event()
        adapters = [make_adapter(tmp_path, n) for n in range(MAX_RESIDENT + 1)]
        streams = [chunks_of(pair.borrowing, request_for(a, stream=True), a) for a in adapters[:MAX_RESIDENT]]
        for stream in streams:
            await read_some(stream)
        with pytest.raises(EngineUnavailable, match="in use"):
            await pair.keeper.ensure_adapter(adapters[-1])
        await streams[0].aclose()
        await pair.keeper.ensure_adapter(adapters[-1])
        assert adapters[0].name not in pair.vllm.loaded
        for stream in streams[1:]:
            await stream.aclose()


async def test_forgetting_takes_an_adapter_from_a_borrower_that_keeps_it_for_later(pair: Pair, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path, 1)
    await ask(pair.borrowing, adapter)
    await pair.keeper.forget_adapter(adapter.name)
    assert pair.vllm.loaded == {}
    await ask(pair.borrowing, adapter)
    await pair.borrowing.forget_adapter(adapter.name)
    assert pair.vllm.loaded == {}


@pytest.mark.parametrize("stream", [True, False])
async def test_forgetting_ends_what_a_borrower_answers_with_the_adapter_before_it_is_unloaded(
    pair: Pair, tmp_path: Path, stream: bool
) -> None:
    pair.vllm.hold = asyncio.Event()
    adapter = make_adapter(tmp_path, 1)
    chunks = chunks_of(pair.borrowing, request_for(adapter, stream=stream), adapter)
    if stream:
        await read_some(chunks)
    rest = asyncio.create_task(read_some(chunks, 100))
    await until(lambda: pair.vllm.running == 1)
    await pair.keeper.forget_adapter(adapter.name)
    with pytest.raises(EngineUnavailable):
        await rest
    await until(lambda: pair.vllm.cancelled == 1)


async def test_an_adapter_is_unloaded_only_when_a_borrower_that_was_told_to_end_has_ended(
    pair: Pair, tmp_path: Path
) -> None:
    adapter, told = make_adapter(tmp_path, 1), asyncio.Event()
    async with pair.borrower.use(adapter) as lease:
        lease.abort = told.set
        forgetting = asyncio.create_task(pair.keeper.forget_adapter(adapter.name))
        await told.wait()
        await pair.borrowing.ensure_adapter(make_adapter(tmp_path, 2))  # it would come after the unloading
        assert adapter.name in pair.vllm.loaded
    await forgetting
    assert adapter.name not in pair.vllm.loaded


async def test_a_borrower_gets_no_adapter_that_is_being_forgotten(pair: Pair, tmp_path: Path) -> None:
    pair.vllm.hold = asyncio.Event()
    adapter = make_adapter(tmp_path, 1)
    async with aclosing(chunks_of(pair.borrowing, request_for(adapter, stream=True), adapter)) as chunks:
        await read_some(chunks)
        forgetting = asyncio.create_task(pair.keeper.forget_adapter(adapter.name))
        await asyncio.sleep(0)
        await pair.borrowing.ensure_adapter(make_adapter(tmp_path, 2))  # its answer comes after the recall
        with pytest.raises(AdapterRejected, match="removed"):
            await pair.borrowing.ensure_adapter(adapter)
    await forgetting


async def test_an_adapter_the_engine_lost_is_loaded_again_within_a_borrowers_request(
    pair: Pair, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path, 1)
    await ask(pair.borrowing, adapter)
    pair.vllm.loaded.clear()
    assert await ask(pair.borrowing, adapter) == adapter.name
    assert pair.vllm.loads == [adapter.name] * 2


async def test_a_borrower_holds_its_adapters_anew_when_the_engine_is_replaced(pair: Pair, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path, 1)
    await ask(pair.borrowing, adapter)
    await pair.vllm.restart()
    assert await ask(pair.borrowing, adapter) == adapter.name
    assert pair.vllm.loads == [adapter.name] * 2


@pytest.mark.parametrize("stream", [True, False])
async def test_when_the_keeper_dies_its_borrowers_answers_end_with_an_error_and_the_base_still_answers(
    pair: Pair, tmp_path: Path, stream: bool
) -> None:
    pair.vllm.hold = asyncio.Event()
    adapter = make_adapter(tmp_path, 1)
    chunks = chunks_of(pair.borrowing, request_for(adapter, stream=stream), adapter)
    if stream:
        await read_some(chunks)
    rest = asyncio.create_task(read_some(chunks, 100))
    await until(lambda: pair.vllm.running == 1)
    await pair.lender.close(0.0)
    with pytest.raises(EngineUnavailable):
        await rest
    assert not (await pair.borrowing.health()).ready
    with pytest.raises(EngineUnavailable):
        await ask(pair.borrowing, adapter)
    pair.vllm.hold.set()
    request = request_for(adapter)
    base = request._replace(body=request.body.replace(adapter.name.encode(), b"base"))
    async with aclosing(chunks_of(pair.borrowing, base, None)) as whole:
        assert [chunk async for chunk in whole]


async def test_the_next_keeper_lends_again_with_books_of_its_own(pair: Pair, tmp_path: Path) -> None:
    one, two = make_adapter(tmp_path, 1), make_adapter(tmp_path, 2)
    await ask(pair.borrowing, one)
    await ask(pair.borrowing, two)
    await pair.lender.close(0.0)
    keeper = make_engine(pair.vllm)
    pair.lender = Lender({"base": keeper})
    await pair.lender.start(tmp_path / "lending.sock")
    await until(lambda: pair.borrower.is_connected)
    assert await ask(pair.borrowing, one) == one.name
    assert list(pair.vllm.loaded) == [one.name]
    await keeper.close()


async def test_the_keeper_reports_what_borrowers_answer(pair: Pair, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path, 1)
    await ask(pair.borrowing, adapter)
    await ask(pair.borrowing, make_adapter(tmp_path, 2))  # what it says comes after what was said before
    first = (await pair.keeper.report()).adapters[0]
    assert (first.name, first.pins) == (adapter.name, 1)
    assert first.first_answer_s is not None
    assert (await pair.borrowing.health()).ready
