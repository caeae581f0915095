"""API processes, without worker and engines: to be killed and started again."""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai

from tests.service import KEY, ROOT

START_TIMEOUT_S = 60.0
_TRIES = 8


class ImpatientClient(openai.OpenAI):
    """The official client, but for the half seconds and more that it waits between its tries."""

    def _calculate_retry_timeout(self, remaining_retries: int, options: Any, response_headers: Any = None) -> float:
        if response_headers and "retry-after" in response_headers:
            return super()._calculate_retry_timeout(remaining_retries, options, response_headers)
        return random.uniform(0.0, 0.1)


class ApiProcess:
    """An API process. The socket, which it has alone, stays while the process is killed and started again."""

    def __init__(self, home: Path, *, place: int = 0, **settings: str) -> None:
        self.home = home
        self._place = place
        self.settings = {"TUNESMITH_HOME": str(home), "TUNESMITH_API_KEY": KEY, **settings}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address: tuple[str, int] = self._listener.getsockname()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TUNESMITH_")}
        fd = self._listener.fileno()
        with (self.home / f"api-{self._place}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "server", "api", "--listen-fd", str(fd), "--place", str(self._place)],
                cwd=ROOT,
                env=environment | self.settings,
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

    def client(self, port: int) -> openai.OpenAI:
        return ImpatientClient(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, max_retries=_TRIES, timeout=60)


@contextmanager
def api_process() -> Iterator[ApiProcess]:
    """The only one, on a home of its own."""
    with api_processes(1) as (api,):
        yield api


@contextmanager
def api_processes(count: int, **settings: str) -> Iterator[list[ApiProcess]]:
    """Several on one home, each on a port of its own, so that a request can be sent to the one that is meant."""
    home = Path(tempfile.mkdtemp(prefix="ts-", dir="/tmp"))
    with ExitStack() as held:
        held.callback(shutil.rmtree, home)
        apis = [ApiProcess(home, place=place, **settings) for place in range(count)]
        for api in apis:
            held.callback(api.close)
            api.start()
        for api in apis:
            api.wait_until_it_answers()
        yield apis
