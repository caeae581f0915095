"""Before the service starts: the home, its lock, the socket, the first keys. What fails here fails in clear words."""

import errno
import fcntl
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from server.auth.api_keys import create_key, list_keys
from server.commands.failures import CommandFailed
from server.settings import Settings


class ServeFailed(CommandFailed):
    """The service cannot start; the message says why and what to do."""


def prepare_home(settings: Settings) -> None:
    try:
        for directory in (settings.home, settings.logs, settings.sockets):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = settings.home / ".writable"
        probe.write_bytes(bytes(4096))
        probe.unlink()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ServeFailed(f"The disk of {settings.home} is full. Free some space and start again.") from error
        raise ServeFailed(
            f"The home directory {settings.home} cannot be used: {error.strerror}. Name another with --home."
        ) from error


@contextmanager
def home_lock(home: Path) -> Iterator[None]:
    with (home / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ServeFailed(f"Another tunesmith serve runs with the home {home}. Stop it, or use --home.") from error
        yield


@contextmanager
def listen(settings: Settings) -> Iterator[list[socket.socket]]:
    """One socket for each API process, all on one port: the kernel deals connections out among them.

    They belong to the parent: while an API process is started again, its connections wait.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise ServeFailed(f"The host {settings.host!r} is not known here. Name an address with --host.") from error
    with ExitStack() as held:
        listeners = [held.enter_context(socket.socket(family, kind)) for _ in range(settings.api_processes)]
        for listener in listeners:
            # Inherited by its connections: the kernel drops a client that takes nothing of what is sent for so long.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(settings.stalled_client_s * 1000))
        try:
            _bind(listeners, address)
        except OSError as error:
            what = f"{settings.host} port {settings.port}"
            if error.errno == errno.EADDRINUSE:
                raise ServeFailed(f"{what} is in use. Stop what listens there, or name another with --port.") from error
            raise ServeFailed(f"Cannot listen on {what}: {error.strerror}.") from error
        for listener in listeners:
            listener.listen(2048)
        yield listeners


def _bind(listeners: Sequence[socket.socket], address: Any) -> None:
    """The first is bound before it may share the port, so that nobody else is there; then the others, to its port."""
    for listener in listeners:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    first, *others = listeners
    first.bind(address)
    for listener in listeners if others else ():
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    for other in others:
        other.bind(first.getsockname())


def show_first_keys(settings: Settings, database: Engine) -> None:
    if settings.api_key or settings.admin_key or list_keys(database):
        return
    key = create_key(database)
    admin = create_key(database, is_admin=True)
    print("Keys of this new home, shown once:")
    print(f"  API key:   {key.plaintext}")
    print(f"  admin key: {admin.plaintext}", flush=True)


def warn_if_exposed(settings: Settings) -> None:
    try:
        is_loopback = ip_address(settings.host).is_loopback
    except ValueError:
        is_loopback = settings.host == "localhost"
    if not is_loopback:
        say(
            f"warning: listening on {settings.host}, beyond this machine, without TLS: "
            "put a proxy with TLS before it, or keys and data cross the network readable"
        )


def base_url(host: str, port: int) -> str:
    name = reachable(host)
    return f"http://[{name}]:{port}/v1" if ":" in name else f"http://{name}:{port}/v1"


def reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def say(message: str) -> None:
    print(f"tunesmith: {message}", file=sys.stderr, flush=True)
