"""A Tunesmith server for one script: started, waited for, and stopped as Ctrl-C would."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import IO

_REPOSITORY = Path(__file__).resolve().parent.parent
_READY = "Tunesmith is ready: "
_STOP_TIMEOUT_S = 60


class ServerFailed(Exception):
    """The server did not start; it has said why on its own output."""


@contextmanager
def local_server(home: Path) -> Iterator[tuple[str, str]]:
    """Run a server on a free port; give its base URL and an API key.

    Raises:
        ServerFailed: it ended before it was ready.
    """
    key = os.environ.get("TUNESMITH_API_KEY") or secrets.token_urlsafe(24)
    process = subprocess.Popen(
        [sys.executable, "-m", "server", "serve", "--home", str(home), "--port", "0"],
        cwd=_REPOSITORY,
        env={**os.environ, "TUNESMITH_API_KEY": key, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a Ctrl-C in the terminal is ours; we pass it on once, below
    )
    assert process.stdout is not None
    try:
        yield _wait_until_ready(process.stdout), key
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_ready(output: IO[str]) -> str:
    """Read the server's lines up to the one with its base URL; later ones are read and dropped."""
    for line in output:
        if line.startswith(_READY):
            Thread(target=output.read, daemon=True).start()
            return line.removeprefix(_READY).strip()
        print(f"  server: {line.rstrip()}")
    raise ServerFailed("the server ended before it was ready; its messages are above")
