"""The whole service in processes of its own: started, looked into, killed and started again."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx
import openai

from tests.processes import RunningProcess, descendants, marked

ROOT = Path(__file__).resolve().parents[1]
KEY = "My Own API Key"
READY = "Tunesmith is ready: "
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 60.0
_POLL_S = 0.1
_LOG_SHOWN_BYTES = 3000
_MARK = "ACCEPTANCE_TEST_SERVICE"

T = TypeVar("T")

# Which process is which, by words of its command line; guards stand beside the process they guard and are not it.
_ROLES: dict[str, tuple[str, ...]] = {
    "api": ("-m", "server", "api"),
    "worker": ("-m", "server", "worker"),
    "trainer": ("-m", "trainer"),
    "engine": ("-m", "inference.vllm.cpu_server"),
    "integration": ("-m", "server.integrations.wandb_process"),
}


class ServiceFault(AssertionError):
    """The service did not do in time what it was waited for; the message has the ends of its logs."""


@dataclass
class Service:
    """One `tunesmith serve` on a home of its own. Every process it starts carries a mark in its environment."""

    home: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="ts-", dir="/tmp")) / "home")
    environment: dict[str, str] = field(
        default_factory=lambda: {"TUNESMITH_API_KEY": KEY, "TUNESMITH_WANDB_MODE": "offline"}
    )
    base_url: str = ""
    _mark: str = field(default_factory=lambda: secrets.token_hex(16))
    _parent: subprocess.Popen[bytes] | None = None
    _seen: set[RunningProcess] = field(default_factory=set)
    _port: int = 0

    def start(self, *arguments: str) -> None:
        """Start it and wait until it says that it is ready; again on the port it had."""
        self.start_without_waiting("--port", str(self._port), *arguments)
        line = self.wait_for(self.ready_line, "the line that says it is ready", timeout_s=START_TIMEOUT_S)
        self.base_url = line.removeprefix(READY).strip()
        self._port = int(self.base_url.rsplit(":", 1)[1].split("/")[0])

    def start_without_waiting(self, *arguments: str) -> subprocess.Popen[bytes]:
        self.output_file.parent.mkdir(parents=True, exist_ok=True)
        with self.output_file.open("wb") as output:
            self._parent = subprocess.Popen(
                [sys.executable, "-m", "server", "serve", "--home", str(self.home), *arguments],
                cwd=ROOT,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self._parent

    def interrupt(self) -> int:
        """Press Ctrl-C: the parent alone is told. Its exit code."""
        parent = self._running_parent()
        self.look_around()
        parent.send_signal(signal.SIGINT)
        try:
            return parent.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise ServiceFault(f"not stopped {STOP_TIMEOUT_S:g} s after Ctrl-C\n{self.logs()}") from None

    def kill_parent(self) -> None:
        """Kill `tunesmith serve` alone; what it started has to notice."""
        parent = self._running_parent()
        self.look_around()
        parent.kill()
        parent.wait()

    def kill_tree(self) -> None:
        """Kill every process of the service, the parent first, as fast as can be."""
        for process in [*self.look_around(), *self._left_over()]:
            process.kill()
        if self._parent is not None:
            self._parent.wait()

    def stop(self) -> None:
        """End it however it goes, and forget its home."""
        try:
            if self._parent is not None and self._parent.poll() is None:
                self.interrupt()
        finally:
            self.kill_tree()
            shutil.rmtree(self.home.parent, ignore_errors=True)

    def processes(self, role: str) -> list[RunningProcess]:
        """The running processes of a role: api, worker, trainer or engine."""
        return [process for process in self.look_around() if _has_role(process, role)]

    def kill(self, role: str) -> RunningProcess:
        """Kill one process of a role, the first to have started, and nothing else."""
        found = self.wait_for(lambda: self.processes(role), f"a process that is the {role}")
        n_most = int(self.environment.get("TUNESMITH_API_PROCESSES", "1")) if role == "api" else 1
        if role != "engine" and len(found) > n_most:
            raise ServiceFault(f"expected {n_most} {role}, found {[str(process) for process in found]}")
        found[0].kill()
        return found[0]

    def kill_all(self, role: str) -> None:
        """Kill every process of a role: whichever has the connection, it is gone."""
        for process in self.wait_for(lambda: self.processes(role), f"a process that is the {role}"):
            process.kill()

    def look_around(self) -> Sequence[RunningProcess]:
        """Every process of the service that runs now, parents first. All that were ever seen are remembered."""
        below = [] if self._parent is None else descendants(self._parent.pid)
        found = list(dict.fromkeys([*below, *marked(_MARK, self._mark)]))
        self._seen.update(found)
        return found

    def assert_no_orphans(self, timeout_s: float = 20.0) -> None:
        """Once the parent is gone, nothing it started runs on."""
        deadline = time.monotonic() + timeout_s
        while left_over := self._left_over():
            if time.monotonic() > deadline:
                shown = "\n".join(map(str, left_over))
                raise ServiceFault(f"still there {timeout_s:g} s after their parent:\n{shown}\n{self.logs()}")
            time.sleep(_POLL_S)

    def client(self, key: str = KEY, *, max_retries: int = 0, strict: bool = True) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=self.base_url,
            api_key=key,
            max_retries=max_retries,
            timeout=60,
            _strict_response_validation=strict,
        )

    def is_ready(self) -> bool:
        """Whether /ready says so; a service that does not answer is not."""
        try:
            return httpx.get(self.base_url.removesuffix("/v1") + "/ready", timeout=10).status_code == 200
        except httpx.HTTPError:
            return False

    def wait_until_ready(self) -> None:
        self.wait_for(self.is_ready, "/ready to answer 200", timeout_s=START_TIMEOUT_S)

    def tunesmith(self, *arguments: str, **environment: str) -> str:
        """Run another command of `tunesmith` on the same home; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "server", *arguments],
            cwd=ROOT,
            env=self._environment() | environment | {"TUNESMITH_HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise ServiceFault(f"tunesmith {arguments[0]} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def new_key(self, project: str) -> str:
        """A key of this project, which is made if it is new."""
        return self.tunesmith("keys", "create", "--project", project).strip()

    def wait_for(self, probe: Callable[[], T | None], what: str, *, timeout_s: float = 120.0) -> T:
        """Ask until the answer is true, and give it.

        Raises:
            ServiceFault: not within the time, or the parent ended meanwhile, while it was to run.
        """
        deadline = time.monotonic() + timeout_s
        parent = self._parent
        has_ended = parent is None or parent.poll() is not None
        while True:
            answer = probe()
            if answer:
                return answer
            if not has_ended and parent is not None and parent.poll() is not None:
                raise ServiceFault(f"the service ended ({parent.returncode}) while waited for {what}\n{self.logs()}")
            if time.monotonic() > deadline:
                raise ServiceFault(f"waited {timeout_s:g} s for {what}\n{self.logs()}")
            time.sleep(_POLL_S)

    def logs(self) -> str:
        """The ends of everything that was written, and what runs."""
        files = [self.output_file, *sorted(self.home.glob("logs/*")), *sorted(self.home.glob("runs/*/*/trainer.log"))]
        parts = [f"--- {file}\n{_end_of(file)}" for file in files if file.is_file()]
        return "\n".join([*parts, "--- processes", *map(str, self.look_around())])

    def ready_line(self) -> str | None:
        return next((line for line in self.output().splitlines() if line.startswith(READY)), None)

    def output(self) -> str:
        """What `tunesmith serve` has printed since it was started last."""
        return self.output_file.read_text(errors="replace")

    @property
    def output_file(self) -> Path:
        return self.home.parent / "serve.log"

    def _left_over(self) -> list[RunningProcess]:
        return [process for process in {*self._seen, *self.look_around()} if process.is_alive()]

    def _running_parent(self) -> subprocess.Popen[bytes]:
        if self._parent is None:
            raise ServiceFault("the service was not started")
        return self._parent

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("TUNESMITH_", "OPENAI_"))
        }
        return {**inherited, **self.environment, _MARK: self._mark, "PYTHONUNBUFFERED": "1"}


def _has_role(process: RunningProcess, role: str) -> bool:
    if "server.guard" in process.argv:
        return False
    words = _ROLES[role]
    return any(process.argv[i : i + len(words)] == words for i in range(len(process.argv)))


def _end_of(file: Path) -> str:
    data = file.read_bytes()
    return data[-_LOG_SHOWN_BYTES:].decode(errors="replace")
