"""Borrower and lender over a real socket, in one event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from inference.engine import AdapterRef, AdapterRejected, EngineUnavailable
from inference.lending.borrower import Borrower
from inference.lending.lease import BorrowedLease
from inference.lending.lender import Lender

pytestmark = pytest.mark.anyio
ONE = AdapterRef("ft:base:acme::1", "base", Path("/adapters/1"), 4, "0" * 64)
TWO = AdapterRef("ft:base:acme::2", "base", Path("/adapters/2"), 4, "0" * 64)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(eq=False)
class Lent:
    """A lease as the lender's books see it."""

    name: str
    abort: Callable[[], None] | None = None
    recall: Callable[[], None] | None = None
    answers: int = 0

    def note_answer(self) -> None:
        self.answers += 1


@dataclass
class ListOfLeases:
    """Books that only say who holds what."""

    held: list[Lent] = field(default_factory=list)
    given: int = 0
    lost_names: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    refusal: Exception | None = None
    loading: asyncio.Event | None = None  # a load waits for it
    aborts_at_once: bool = False  # what is lent goes in the moment in which it came

    @asynccontextmanager
    async def lend(self, adapter: AdapterRef) -> AsyncIterator[Lent]:
        if self.loading is not None:
            await self.loading.wait()
        if self.refusal is not None:
            raise self.refusal
        lease = Lent(adapter.name)
        self.held.append(lease)
        self.given += 1
        if self.aborts_at_once:
            asyncio.get_running_loop().call_soon(lambda: lease.abort and lease.abort())
        try:
            yield lease
        finally:
            self.held.remove(lease)

    def lost(self, name: str) -> None:
        self.lost_names.append(name)

    async def forget_adapter(self, name: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.forgotten.append(name)

    @property
    def names(self) -> list[str]:
        return [lease.name for lease in self.held]


@dataclass
class Rig:
    """A lender with its books, and borrowers of it."""

    socket: Path
    books: ListOfLeases = field(default_factory=ListOfLeases)
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    async def start_lender(self) -> None:
        self.books = ListOfLeases()
        self.lender = Lender({"base": self.books})
        await self.lender.start(self.socket)

    async def connect(self, linger_s: float = 60.0) -> Borrower:
        borrower = Borrower(self.socket, linger_s=linger_s)
        self.tasks.append(asyncio.create_task(borrower.run()))
        await until(lambda: borrower.is_connected)
        return borrower


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path / "holds.sock")
    await rig.start_lender()
    yield rig
    for task in rig.tasks:
        task.cancel()
    await asyncio.gather(*rig.tasks, return_exceptions=True)
    await rig.lender.close(0.0)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.001)


@dataclass
class Request:
    """A request that goes on until it is ended."""

    task: "asyncio.Task[None]"
    done: asyncio.Event
    aborts: list[str]

    async def end(self) -> None:
        self.done.set()
        await self.task


async def begin(borrower: Borrower, adapter: AdapterRef = ONE) -> Request:
    held, done = asyncio.Event(), asyncio.Event()
    aborts: list[str] = []

    async def answer() -> None:
        async with borrower.use(adapter) as lease:

            def abort() -> None:
                aborts.append(adapter.name)
                done.set()

            lease.abort = abort
            held.set()
            await done.wait()

    request = Request(asyncio.create_task(answer()), done, aborts)
    await held.wait()
    return request


async def use(borrower: Borrower, adapter: AdapterRef = ONE) -> None:
    async with borrower.use(adapter):
        pass


async def test_an_adapter_is_held_while_requests_use_it_and_asked_for_once(rig: Rig) -> None:
    borrower = await rig.connect(linger_s=0.0)
    first, second = await begin(borrower), await begin(borrower)
    assert rig.books.names == [ONE.name]
    await first.end()
    await use(borrower, TWO)
    assert ONE.name in rig.books.names
    await second.end()
    await until(lambda: rig.books.names == [])
    assert rig.books.given == 2


async def test_a_hot_adapter_costs_no_round_trip(rig: Rig) -> None:
    borrower = await rig.connect()
    for _ in range(20):
        await use(borrower)
    assert rig.books.given == 1
    assert rig.books.names == [ONE.name]


@pytest.mark.parametrize("refusal", [AdapterRejected("damaged"), EngineUnavailable("not there")])
async def test_a_refusal_is_told_as_it_was_and_the_next_request_asks_again(rig: Rig, refusal: Exception) -> None:
    borrower = await rig.connect()
    rig.books.refusal = refusal
    for _ in range(2):
        with pytest.raises(type(refusal), match=str(refusal)):
            await use(borrower)
    with pytest.raises(type(refusal), match=str(refusal)):
        await borrower.forget("base", ONE.name)
    rig.books.refusal = None
    await use(borrower)


async def test_an_adapter_of_a_base_that_is_not_there_is_unavailable(rig: Rig) -> None:
    borrower = await rig.connect()
    with pytest.raises(EngineUnavailable, match="no engine"):
        await use(borrower, AdapterRef("ft:x:acme::1", "x", Path("/adapters/x"), 4, "0" * 64))


async def test_a_request_that_gives_up_while_its_adapter_is_loaded_gives_it_back(rig: Rig) -> None:
    borrower = await rig.connect()
    rig.books.loading = asyncio.Event()
    waiting = asyncio.create_task(use(borrower))
    await asyncio.sleep(0)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    await use_while_loading(rig, borrower)
    assert rig.books.given == 1


async def use_while_loading(rig: Rig, borrower: Borrower) -> None:
    again = asyncio.create_task(use(borrower))
    await asyncio.sleep(0.01)
    assert rig.books.loading is not None
    rig.books.loading.set()
    await again


async def test_a_borrower_that_goes_gives_all_back_and_others_keep_theirs(rig: Rig) -> None:
    gone, stays = await rig.connect(), await rig.connect()
    await begin(gone)
    await begin(gone, TWO)
    await begin(stays)
    assert sorted(rig.books.names) == [ONE.name, ONE.name, TWO.name]
    rig.tasks[0].cancel()
    await until(lambda: rig.books.names == [ONE.name])


async def test_an_aborted_adapter_ends_its_requests_and_is_given_back_when_they_have(rig: Rig) -> None:
    borrower = await rig.connect()
    request = await begin(borrower)
    abort = rig.books.held[0].abort
    assert abort is not None
    abort()
    await request.task
    assert request.aborts == [ONE.name]
    await until(lambda: rig.books.names == [])


async def test_an_adapter_that_goes_in_the_moment_in_which_it_came_is_used_by_nobody(rig: Rig) -> None:
    borrower = await rig.connect()
    rig.books.aborts_at_once = True
    with pytest.raises(EngineUnavailable):
        await use(borrower)
    await until(lambda: rig.books.names == [])


async def test_a_request_that_learns_too_late_how_to_abort_is_aborted_then() -> None:
    lease, aborts = BorrowedLease(lambda: None), []
    lease.end()
    lease.abort = lambda: aborts.append("now")
    assert aborts == ["now"]


async def test_a_recalled_adapter_is_given_back_after_its_requests_and_new_ones_ask_anew(rig: Rig) -> None:
    borrower = await rig.connect()
    request = await begin(borrower)
    first = rig.books.held[0]
    assert first.recall is not None
    first.recall()
    await use(borrower, TWO)  # its answer comes after the recall
    await use(borrower)
    assert rig.books.given == 3
    assert first in rig.books.held
    assert not request.aborts
    await request.end()
    await until(lambda: first not in rig.books.held)


async def test_an_idle_adapter_that_is_recalled_is_given_back_at_once(rig: Rig) -> None:
    borrower = await rig.connect()
    await use(borrower)
    recall = rig.books.held[0].recall
    assert recall is not None
    recall()
    await until(lambda: rig.books.names == [])


async def test_a_lender_that_dies_ends_what_was_borrowed_and_the_next_one_lends_again(rig: Rig) -> None:
    borrower = await rig.connect()
    request = await begin(borrower)
    await rig.lender.close(0.0)
    await request.task
    assert request.aborts == [ONE.name]
    with pytest.raises(EngineUnavailable):
        await use(borrower)
    with pytest.raises(EngineUnavailable):
        await borrower.forget("base", ONE.name)
    await rig.start_lender()
    await until(lambda: borrower.is_connected)
    await use(borrower)
    assert rig.books.names == [ONE.name]


async def test_whoever_waits_when_the_lender_dies_hears_of_it(rig: Rig) -> None:
    borrower = await rig.connect()
    rig.books.loading = asyncio.Event()
    waiting = asyncio.create_task(use(borrower))
    await asyncio.sleep(0)
    await rig.lender.close(0.0)
    with pytest.raises(EngineUnavailable):
        await waiting


async def test_a_lender_that_closes_waits_for_what_is_lent_and_lends_no_more(rig: Rig) -> None:
    borrower = await rig.connect()
    request = await begin(borrower)
    closing = asyncio.create_task(rig.lender.close(10.0))
    await asyncio.sleep(0)
    for adapter in (TWO, ONE):  # the answer for the first comes after the recall of the other
        with pytest.raises(EngineUnavailable, match="stopping"):
            await use(borrower, adapter)
    assert not closing.done()
    await request.end()
    await closing
    assert not request.aborts


async def test_an_adapter_the_engine_does_not_know_is_told_and_held_again(rig: Rig) -> None:
    borrower = await rig.connect()
    request = await begin(borrower)
    borrower.lost("base", ONE.name)
    await use(borrower)
    assert rig.books.lost_names == [ONE.name]
    assert rig.books.given == 2
    await request.end()
    await until(lambda: len(rig.books.held) == 1)


async def test_what_was_held_in_an_engine_that_was_replaced_is_held_anew(rig: Rig) -> None:
    borrower = await rig.connect()
    await use(borrower)
    borrower.leave("base")
    await use(borrower)
    assert rig.books.given == 2
    await until(lambda: len(rig.books.held) == 1)


async def test_forgetting_goes_to_the_lender(rig: Rig) -> None:
    borrower = await rig.connect()
    await borrower.forget("base", ONE.name)
    assert rig.books.forgotten == [ONE.name]


async def test_the_lender_hears_of_the_first_answer(rig: Rig) -> None:
    borrower = await rig.connect()
    async with borrower.use(ONE) as lease:
        lease.note_answer()
        lease.note_answer()
        await until(lambda: rig.books.held[0].answers == 1)
    await use(borrower, TWO)
    assert rig.books.held[0].answers == 1
