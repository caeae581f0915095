"""The API's own process, without worker and engines: to be killed and started again."""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
        return ImpatientClient(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, max_retries=_TRIES, timeout=60)


@contextmanager
def api_process() -> Iterator[ApiProcess]:
    api = ApiProcess()
    try:
        api.start()
        api.wait_until_it_answers()
        yield api
    finally:
        api.close()
