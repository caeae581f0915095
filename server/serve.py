"""`tunesmith serve`: the parent of API, worker and engines. It holds the socket, the lifeline and the home's lock."""

import ctypes
import http.client
import os
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from inference.vllm.process import free_socket, is_ready
from server.bootstrap import build_engine_commands, build_services
from server.child import Child, ChildCommand
from server.guard import LIFELINE_VARIABLE
from server.observing.shared_counts import SHARED_VARIABLE, empty_directory
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
_ENGINE_PROBE_EVERY_S = 5.0
_ENGINE_DEAF_S = 60.0  # an engine that was ready and does not answer for this long is started anew
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
        listener = held.enter_context(listen(settings))
        services = build_services(settings)
        show_first_keys(settings, services.database)
        warn_if_exposed(settings)
        lifeline, kept_open = os.pipe()
        held.callback(_close, kept_open)
        port = listener.getsockname()[1]
        children = _children(replace(settings, port=port), listener.fileno(), lifeline)
        engines = [settings.engine_socket(index) for index in range(len(services.base_models.entries))]
        services.database.dispose()
        return _Parent(replace(settings, port=port), children, engines, kept_open).run()


def is_deaf(*, now: float, started_at: float, answered_at: float, start_timeout_s: float) -> bool:
    """Whether an engine that does not answer `now` is to be started anew. Monotonic seconds.

    One that has answered since its start gets a minute; one that has not, the time it may take to start.
    """
    if answered_at > started_at:
        return now - answered_at > _ENGINE_DEAF_S
    return now - started_at > start_timeout_s


class _Parent:
    def __init__(self, settings: Settings, children: list[Child], engines: list[Path], lifeline: int) -> None:
        self._settings = settings
        self._host, self._port = settings.host, settings.port
        self._children = children
        self._engine_sockets = engines
        self._engine_answered = dict.fromkeys(engines, 0.0)  # monotonic; 0: never
        self._lifeline = lifeline
        self._stopping = False
        self._ready = False
        self._probe_at = 0.0

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
        for child in self._children:
            code = child.tend()
            if code is not None:
                self._on_death(child, code)
        _reap_strangers({child.process.pid for child in self._children if child.process is not None})
        if not self._ready and _answers(self._host, self._port):
            self._ready = True
            print(f"Tunesmith is ready: {base_url(self._host, self._port)}", flush=True)
        if time.monotonic() >= self._probe_at:
            self._probe_at = time.monotonic() + _ENGINE_PROBE_EVERY_S
            self._probe_engines()

    def _on_death(self, child: Child, code: int) -> None:
        say(f"{child.command.name} ended with code {code} and is started again; {child.command.log} may say why")
        if not self._ready and child.deaths >= _START_ATTEMPTS:
            raise ServeFailed(
                f"{child.command.name} ended {child.deaths} times before it was ready. See {child.command.log}\n"
                f"{_tail(child.command.log)}"
            )

    def _probe_engines(self) -> None:
        now = time.monotonic()
        for engine, path in zip(self._children, self._engine_sockets, strict=False):
            if is_ready(path):
                self._engine_answered[path] = now
            elif engine.process is not None and is_deaf(
                now=now,
                started_at=engine.started_at,
                answered_at=self._engine_answered[path],
                start_timeout_s=self._settings.engine_start_timeout_s,
            ):
                say(f"{engine.command.name} does not answer and is started again; {engine.command.log} may say why")
                engine.kill_guarded()

    def _stop(self) -> None:
        say("stopping; running jobs go on at the next start")
        deadline = time.monotonic() + _STOP_S
        for child in reversed(self._children):
            child.ask_to_stop()
        for child in reversed(self._children):
            child.stop(deadline)
        os.close(self._lifeline)  # whatever a guard still has is killed now
        while _reap_strangers(set()) and time.monotonic() < deadline + 5:
            time.sleep(_TICK_S / 2)


def _children(settings: Settings, listen_fd: int, lifeline: int) -> list[Child]:
    """The engines first, in the order of the base models, then the API, then the worker."""
    base = {**os.environ, **settings.environment(), LIFELINE_VARIABLE: str(lifeline)}
    base_models = build_services(settings).base_models
    children = []
    for index, engine in enumerate(build_engine_commands(settings, base_models)):
        directory = settings.home / "engines" / str(index)
        directory.mkdir(parents=True, exist_ok=True)
        environment = {**engine.environment, LIFELINE_VARIABLE: str(lifeline), "TUNESMITH_HOME": str(settings.home)}
        argv = [sys.executable, "-m", "server.guard", str(directory), "--", *engine.argv]
        children.append(
            Child(
                ChildCommand(
                    name=f"the engine of {base_models.entries[index].name}",
                    argv=argv,
                    environment=environment,
                    log=settings.logs / f"engine-{index}.log",
                    pass_fds=(lifeline,),
                    before_start=partial(free_socket, engine.socket),
                    is_guard=True,
                )
            )
        )
    server = [sys.executable, "-m", "server"]
    api = [*server, "api", "--listen-fd", str(listen_fd)]
    counting = {**base, SHARED_VARIABLE: str(empty_directory(settings.metrics))}
    children.append(
        Child(ChildCommand("the API process", api, counting, settings.logs / "api.log", (listen_fd, lifeline)))
    )
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


def _tail(path: Path, lines: int = 5) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        return
