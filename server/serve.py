"""`tunesmith serve`: the parent of API, worker and engines. It holds the socket, the lifeline and the home's lock."""

import ctypes
import http.client
import os
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from inference.vllm.command import EngineCommand
from inference.vllm.process import free_socket, has_quantisation
from server.bootstrap import Services, build_services
from server.child import Child, ChildCommand
from server.db.engine import open_database
from server.engine_assembly import build_engine_commands, build_full_engine_command
from server.engine_member import Member
from server.engine_pool import EnginePool, tail
from server.guard import LIFELINE_VARIABLE
from server.models.names import directory_of
from server.observing.shared_counts import SHARED_VARIABLE, empty_directory
from server.placement.sizing import EngineSize
from server.quantised_serving import refuse_what_cannot_be_quantised
from server.settings import Settings
from server.starting import (
    ServeFailed,
    base_url,
    home_lock,
    listen,
    prepare_home,
    reachable,
    say,
    show_first_keys,
    warn_if_exposed,
)

_TICK_S = 0.1
_STOP_S = 20.0  # for everything to end by itself
_DATABASE_PATIENCE_MS = 1000  # the parent must not be held up by it
_START_ATTEMPTS = 3  # of a child that dies before the service was ever ready
_PR_SET_CHILD_SUBREAPER = 36


def serve(settings: Settings) -> int:
    """Run the service until SIGINT or SIGTERM. The exit code: 0, or 1 if it never became ready.

    Raises:
        ServeFailed, BaseModelsInvalid, DatabaseTooNew: it cannot start.
    """
    settings = replace(settings, home=settings.home.expanduser().resolve())
    with ExitStack() as held:
        prepare_home(settings)
        held.enter_context(home_lock(settings.home))
        listeners = held.enter_context(listen(settings))
        services = build_services(settings)
        refuse_what_cannot_be_quantised(services.base_models, has_quantisation=has_quantisation())
        show_first_keys(settings, services.database)
        warn_if_exposed(settings)
        lifeline, kept_open = os.pipe()
        held.callback(_close, kept_open)
        port = listeners[0].getsockname()[1]
        settings = replace(settings, port=port)
        services.database.dispose()
        database = open_database(settings.database, _DATABASE_PATIENCE_MS)
        held.callback(database.dispose)
        pool = EnginePool(
            _engines(settings, services, lifeline),
            services.placement,
            database,
            start_timeout_s=settings.engine_start_timeout_s,
            member_of=partial(_full_member, settings, services, lifeline),
        )
        pool.start_over()
        children = _children(settings, [listener.fileno() for listener in listeners], lifeline)
        return _Parent(settings, pool, children, kept_open).run()


class _Parent:
    def __init__(self, settings: Settings, pool: EnginePool, children: list[Child], lifeline: int) -> None:
        self._host, self._port = settings.host, settings.port
        self._pool = pool
        self._children = children
        self._lifeline = lifeline
        self._stopping = False
        self._ready = False

    def run(self) -> int:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_stop_signal)
        try:
            while not self._stopping:
                self._tick()
                time.sleep(_TICK_S)
        finally:
            self._stop()
        return 0

    def _on_stop_signal(self, *_: object) -> None:
        if self._stopping:
            os.close(self._lifeline)  # asked twice: the guards kill what is left
            os._exit(130)
        self._stopping = True

    def _tick(self) -> None:
        self._pool.tick()
        for child in self._children:
            code = child.tend()
            if code is not None:
                self._on_death(child, code)
        _reap_strangers({child.process.pid for child in self._everyone() if child.process is not None})
        if not self._ready and _answers(self._host, self._port):
            self._ready = True
            print(f"Tunesmith is ready: {base_url(self._host, self._port)}", flush=True)

    def _everyone(self) -> list[Child]:
        """In the order in which they start."""
        return [*self._pool.children, *self._children]

    def _on_death(self, child: Child, code: int) -> None:
        say(f"{child.command.name} ended with code {code} and is started again; {child.command.log} may say why")
        if not self._ready and child.deaths >= _START_ATTEMPTS:
            raise ServeFailed(
                f"{child.command.name} ended {child.deaths} times before it was ready. See {child.command.log}\n"
                f"{tail(child.command.log)}"
            )

    def _stop(self) -> None:
        say("stopping; running jobs go on at the next start")
        deadline = time.monotonic() + _STOP_S
        for child in reversed(self._everyone()):
            child.ask_to_stop()
        for child in reversed(self._everyone()):
            child.stop(deadline)
        os.close(self._lifeline)  # whatever a guard still has is killed now
        while _reap_strangers(set()) and time.monotonic() < deadline + 5:
            time.sleep(_TICK_S / 2)


def _engines(settings: Settings, services: Services, lifeline: int) -> list[Member]:
    """In the order of the base models."""
    commands = build_engine_commands(settings, services.base_models, services.placement)
    return [
        Member(entry.name, _engine_child(settings, engine, entry.name, str(index), lifeline), engine.socket)
        for index, (entry, engine) in enumerate(zip(services.base_models.entries, commands, strict=True))
    ]


def _full_member(settings: Settings, services: Services, lifeline: int, size: EngineSize, base_model: str) -> Member:
    base = services.base_models.by_name[base_model]
    engine = build_full_engine_command(settings, base, size, services.placement.policy)
    place = directory_of(size.base_model)
    child = _engine_child(settings, engine, size.base_model, place, lifeline)
    clear = partial(shutil.rmtree, _guard_directory(settings, place), ignore_errors=True)
    return Member(size.base_model, child, engine.socket, is_full=True, clear=clear)


def _guard_directory(settings: Settings, place: str) -> Path:
    return settings.home / "engines" / place


def _engine_child(settings: Settings, engine: EngineCommand, model: str, place: str, lifeline: int) -> Child:
    """`place` tells its files from those of others."""
    directory = _guard_directory(settings, place)
    directory.mkdir(parents=True, exist_ok=True)
    command = ChildCommand(
        name=f"the engine of {model}",
        argv=[sys.executable, "-m", "server.guard", str(directory), "--", *engine.argv],
        environment={**engine.environment, LIFELINE_VARIABLE: str(lifeline), "TUNESMITH_HOME": str(settings.home)},
        log=settings.logs / f"engine-{place}.log",
        pass_fds=(lifeline,),
        before_start=partial(free_socket, engine.socket),
        is_guard=True,
    )
    return Child(command)


def _children(settings: Settings, listen_fds: list[int], lifeline: int) -> list[Child]:
    """The API processes, then the worker."""
    base = {**os.environ, **settings.environment(), LIFELINE_VARIABLE: str(lifeline)}
    server = [sys.executable, "-m", "server"]
    children = []
    counting = {**base, SHARED_VARIABLE: str(empty_directory(settings.metrics))}
    for place, listen_fd in enumerate(listen_fds):
        api = [*server, "api", "--listen-fd", str(listen_fd), "--place", str(place)]
        name, log = ("the API process", "api.log") if place == 0 else (f"API process {place + 1}", f"api-{place}.log")
        children.append(Child(ChildCommand(name, api, counting, settings.logs / log, (listen_fd, lifeline))))
    worker = [*server, "worker"]
    children.append(Child(ChildCommand("the worker", worker, base, settings.logs / "worker.log", (lifeline,))))
    return children


def _answers(host: str, port: int) -> bool:
    """Whether the service says that it is ready."""
    connection = http.client.HTTPConnection(reachable(host), port, timeout=2.0)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _reap_strangers(known: set[int]) -> int:
    """Collect the dead that were handed to us and kill orphans; guards alone may outlive their parents.

    Returns how many live.
    """
    alive = 0
    for text in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        pid = int(text)
        if pid in known:
            continue
        if os.waitpid(pid, os.WNOHANG)[0] == 0:
            alive += 1
            if b"server.guard" not in _command_line(pid):
                os.kill(pid, signal.SIGKILL)
    return alive


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b"server.guard"  # gone meanwhile


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        return
