"""Eight clients whose requests and answers get lost: each thing they asked for is there once, and they know its id."""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai

from tests.losing_proxy import FATES, LosingProxy
from tests.service import KEY, ROOT

INTENTS = 60
THREADS = 8
KILLS = 3
START_TIMEOUT_S = 60.0
SEED = 20260106


class ImpatientClient(openai.OpenAI):
    """The official client, but for the half seconds and more that it waits between its tries."""

    def _calculate_retry_timeout(self, remaining_retries: int, options: Any, response_headers: Any = None) -> float:
        if response_headers and "retry-after" in response_headers:
            return super()._calculate_retry_timeout(remaining_retries, options, response_headers)
        return random.uniform(0.0, 0.1)


class ApiProcess:
    """The API's own process, on a home of its own. The socket stays while the process is killed and started again."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="ts-", dir="/tmp"))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address: tuple[str, int] = self._listener.getsockname()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TUNESMITH_")}
        fd = self._listener.fileno()
        with (self.home / "api.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "server", "api", "--listen-fd", str(fd)],
                cwd=ROOT,
                env=environment | {"TUNESMITH_HOME": str(self.home), "TUNESMITH_API_KEY": KEY},
                stdout=log,
                stderr=log,
                pass_fds=(fd,),
            )

    def wait_until_it_answers(self) -> None:
        """A connection waits in the socket's queue until there is a process to answer it."""
        httpx.get(f"http://127.0.0.1:{self.address[1]}/health", timeout=START_TIMEOUT_S).raise_for_status()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        self.kill()
        self._listener.close()
        shutil.rmtree(self.home)

    def client(self, port: int) -> openai.OpenAI:
        return ImpatientClient(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, max_retries=5 + KILLS, timeout=60)


@contextmanager
def api_process() -> Iterator[ApiProcess]:
    api = ApiProcess()
    try:
        api.start()
        api.wait_until_it_answers()
        yield api
    finally:
        api.close()


def storm(api: ApiProcess, meanwhile: Callable[[LosingProxy], None]) -> None:
    """Ask for files and jobs through the proxy, then look at what there is."""
    with api.client(api.address[1]) as direct:
        training_file = direct.files.create(file=b"{}", purpose="fine-tune").id
        proxy = LosingProxy(api.address, seed=SEED)
        with proxy.serving(), api.client(proxy.port) as client, ThreadPoolExecutor(THREADS) as threads:
            pending = [threads.submit(ask, client, intent, training_file) for intent in range(INTENTS)]
            meanwhile(proxy)
            acknowledged = dict(future.result() for future in pending)
            proxy.wait_for_the_late()

        assert set(proxy.fates) == set(FATES)
        there = [(job.metadata or {})["intent"] for job in direct.fine_tuning.jobs.list(limit=100)]
        there += [file.filename for file in direct.files.list() if file.id != training_file]
        assert sorted(there) == sorted(map(str, range(INTENTS)))
        ids = {(job.metadata or {})["intent"]: job.id for job in direct.fine_tuning.jobs.list(limit=100)}
        ids |= {file.filename: file.id for file in direct.files.list() if file.id != training_file}
        assert acknowledged == ids
        for intent in range(0, INTENTS, 2):
            assert direct.files.content(ids[str(intent)]).read() == content(intent)


def ask(client: openai.OpenAI, intent: int, training_file: str) -> tuple[str, str]:
    """Every other intent is a file, every other a job; half have a key of their own. The name, and the id it got."""
    name = str(intent)
    headers = {"Idempotency-Key": name} if intent % 4 < 2 else {}
    if intent % 2 == 0:
        file = client.files.create(file=(name, content(intent)), purpose="fine-tune", extra_headers=headers)
        return name, file.id
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini", training_file=training_file, metadata={"intent": name}, extra_headers=headers
    )
    return name, job.id


def wait_for_requests(proxy: LosingProxy, count: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while len(proxy.fates) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def content(intent: int) -> bytes:
    return b"%d " % intent * 1000


def test_each_intent_is_done_once_whatever_is_lost() -> None:
    with api_process() as api:
        storm(api, meanwhile=lambda _: None)
        blobs = [path for path in (api.home / "files").iterdir() if path.is_file()]
        assert len(blobs) == INTENTS // 2 + 1  # nothing is kept of what was sent twice


def test_each_intent_is_done_once_although_the_api_is_killed_meanwhile() -> None:
    with api_process() as api:

        def kill_and_start(proxy: LosingProxy) -> None:
            for kill in range(1, KILLS + 1):
                wait_for_requests(proxy, 25 * kill)
                api.kill()
                api.start()
                api.wait_until_it_answers()

        storm(api, kill_and_start)
