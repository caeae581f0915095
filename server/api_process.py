"""The API process: the public API on a socket it inherits, and the worker's private door, in one event loop."""

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import uvicorn
import uvloop

from server.app import create_app
from server.bootstrap import build_api_services
from server.chat.control import ControlApp
from server.one_write import OneWriteProtocol
from server.settings import Settings

_GRACE_S = 5  # for answers under way when the process is told to stop


def run(settings: Settings, listen_fd: int) -> None:
    """Serve until SIGTERM or SIGINT. `listen_fd` is a listening socket, which outlives this process."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    with socket.socket(fileno=listen_fd) as public, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, public))


async def _serve(settings: Settings, public: socket.socket) -> None:
    services = build_api_services(settings)
    api = _Server(_config(create_app(services), lifespan="on"))
    control = _Server(_config(ControlApp(services.engines), lifespan="off"))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _stop, api, control)
    with _unix_listener(settings.control_socket) as private:
        await asyncio.gather(api.serve(sockets=[public]), control.serve(sockets=[private]))


class _Server(uvicorn.Server):
    """Leaves the signals to this module: two servers share the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: Any, *, lifespan: Literal["on", "off"]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=OneWriteProtocol,  # on httptools: h11 does not let an early refusal reach a client that is still uploading
        ws="none",
        lifespan=lifespan,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing asks where a request came from
        timeout_graceful_shutdown=_GRACE_S,
    )


def _stop(*servers: uvicorn.Server) -> None:
    for server in servers:
        server.should_exit = True


@contextmanager
def _unix_listener(path: Path) -> Iterator[socket.socket]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # of an API process that was killed
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener
