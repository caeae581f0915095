"""The API process is killed while it streams to many: what clients have whole is counted to the token."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from subprocess import Popen
from threading import Condition, Event

import httpx2
import openai
import pytest

from server.db.engine import open_database
from server.metering.account import Amount
from server.metering.folding import Folder
from server.metering.repository import sum_usage
from server.metering.sums import UsageFilter
from server.settings import Settings
from tests.api_process import ApiProcess, api_process
from tests.service import ROOT

CLIENTS = 8
KILLS = 3
ANSWERS_BETWEEN_KILLS = 10
EVER = UsageFilter(since=0, until=2**40)


@dataclass
class Counted:
    """What the clients saw."""

    whole: Amount = field(default_factory=Amount)
    largest: Amount = field(default_factory=Amount)  # of one answer
    broken: int = 0
    changed: Condition = field(default_factory=Condition)

    def add(self, usage: openai.types.CompletionUsage | None) -> None:
        with self.changed:
            self.changed.notify_all()
            if usage is None:
                self.broken += 1
                return
            self.largest = Amount(1, 1, usage.prompt_tokens, 0, usage.completion_tokens)
            self.whole += self.largest

    def wait_until_whole(self, answers: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.whole.finished >= answers, timeout=60)


@contextmanager
def mock_engine(api: ApiProcess) -> Iterator[None]:
    socket = Settings(home=api.home).engine_socket(0)
    process = Popen([sys.executable, "-m", "benchmarks.mock_engine", "--uds", str(socket)], cwd=ROOT)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _ask(api: ApiProcess, counted: Counted, stop: Event) -> None:
    with api.client(api.address[1]).with_options(max_retries=0) as client:
        while not stop.is_set():
            try:
                counted.add(_stream(client))
            except (openai.APIError, httpx2.HTTPError):
                counted.add(None)


def _stream(client: openai.OpenAI) -> openai.types.CompletionUsage | None:
    """The usage of an answer that came whole. Raises what the client does of one that did not."""
    stream = client.chat.completions.create(
        model="tunesmith-demo",
        messages=[{"role": "user", "content": "Hello"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    return [chunk.usage for chunk in stream][-1]


@pytest.mark.timeout(180)
def test_usage_after_kills_is_what_clients_counted_and_no_more_than_was_under_way() -> None:
    counted, stop = Counted(), Event()
    with api_process() as api, mock_engine(api), ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(_ask, api, counted, stop) for _ in range(CLIENTS)]
        try:
            for kill in range(1, KILLS + 1):
                counted.wait_until_whole(kill * ANSWERS_BETWEEN_KILLS)
                api.kill()
                api.start()
                api.wait_until_it_answers()
        finally:
            stop.set()
        for task in asking:
            task.result()
        database = open_database(api.home / "tunesmith.db")
        Folder(database, api.home / "usage").fold()
        found = sum((found.amount for found in sum_usage(database, EVER, width_s=60, group_by=[])), Amount())
        database.dispose()

    under_way = KILLS * CLIENTS
    assert counted.broken > 0
    assert counted.whole.finished <= found.finished <= counted.whole.finished + under_way
    assert found.requests <= counted.whole.requests + counted.broken
    for kind in ("prompt_tokens", "completion_tokens"):
        whole, most = getattr(counted.whole, kind), under_way * getattr(counted.largest, kind)
        assert whole <= getattr(found, kind) <= whole + most
