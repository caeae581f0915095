"""An API process: the public API on a socket it inherits, in one event loop; the first also keeps the adapters."""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import uvicorn
import uvloop
from starlette.types import ASGIApp

from inference.lending.borrower import Borrower
from inference.lending.lender import Lender
from server.app import create_app
from server.bootstrap import build_api_services
from server.control import ControlApp
from server.one_write import OneWriteProtocol
from server.settings import Settings

_COLLECT_AFTER = 50_000  # objects more than were let go
_GRACE_S = 5  # for answers under way when the process is told to stop


def run(settings: Settings, listen_fd: int, place: int) -> None:
    """Serve until SIGTERM or SIGINT. `listen_fd` is a listening socket, which outlives this process.

    `place`: among the API processes. The one at 0 keeps the books of resident adapters and has the private doors.
    """
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    _collect_seldom()
    with socket.socket(fileno=listen_fd) as public, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_first(settings, public) if place == 0 else _serve_further(settings, public))


def _collect_seldom() -> None:
    """A request leaves no cycles behind, and of what was imported nothing ever goes: it need not be looked through."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


async def _serve_first(settings: Settings, public: socket.socket) -> None:
    services = build_api_services(settings)
    public_api = create_app(services)
    api = _Server(_config(public_api.app, public_api.http, lifespan="on"))
    doors = ControlApp(services.engines, services.full_engines, public_api.inner)
    control = _Server(_config(doors, OneWriteProtocol, lifespan="off"))
    told = _stopping(api, control)
    with _unix_listener(settings.control_socket) as private:
        async with asyncio.TaskGroup() as beside:
            beside.create_task(control.serve(sockets=[private]))
            beside.create_task(_lend(Lender(services.books), settings.lending_socket, told))
            await api.serve(sockets=[public])
            control.should_exit = True  # if it could not begin, nobody was told to stop
            told.set()


async def _serve_further(settings: Settings, public: socket.socket) -> None:
    borrower = Borrower(settings.lending_socket)
    services = build_api_services(settings, borrower)
    public_api = create_app(services, tidies_up=False)
    api = _Server(_config(public_api.app, public_api.http, lifespan="on"))
    _stopping(api)
    async with asyncio.TaskGroup() as beside:
        connection = beside.create_task(borrower.run())
        await api.serve(sockets=[public])
        connection.cancel()


async def _lend(lender: Lender, socket: Path, told: asyncio.Event) -> None:
    await lender.start(socket)
    await told.wait()
    await lender.close(_GRACE_S)


def _stopping(*servers: uvicorn.Server) -> asyncio.Event:
    """Stop the servers at a signal; what is given is set then."""
    told = asyncio.Event()

    def stop() -> None:
        told.set()
        for server in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return told


class _Server(uvicorn.Server):
    """Leaves the signals to this module: two servers share the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: ASGIApp, http: type[asyncio.Protocol], *, lifespan: Literal["on", "off"]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=http,  # on httptools: h11 does not let an early refusal reach a client that is still uploading
        ws="none",
        lifespan=lifespan,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing asks where a request came from
        timeout_graceful_shutdown=_GRACE_S,
    )


@contextmanager
def _unix_listener(path: Path) -> Iterator[socket.socket]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # of an API process that was killed
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener
