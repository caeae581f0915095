"""One real vLLM for all tests of this directory, without a compiler in its reach, and the relay before it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest

from inference.base_shapes import read_base_shapes
from inference.engine import AdapterRef
from inference.vllm.adapters import AdapterLimits
from inference.vllm.command import EngineCommand, EngineSettings, build_command
from inference.vllm.engine import VllmEngine
from inference.vllm.loading import AdapterChecks
from inference.vllm.process import choose_cpu_dtype, engine_cpu_threads, find_device, free_socket, wait_until_ready
from server.base_models import BaseModelEntry
from server.record.golden_examiner import GoldenExaminer
from tests.adapter_files import refer_to
from tests.engine.adapters import RANK, make_adapter
from tests.relay_server import RelayServer

BASE = Path(__file__).parents[2] / "examples/demo_model"
BASE_NAME = "tunesmith-demo"
ALIAS = "gpt-4o-mini-2024-07-18"
MAX_LORAS = 2
MAX_RESIDENT = 4
_COMPILERS = ("cc", "c++", "gcc", "g++", "clang", "cpp", "c89", "c99", "x86_64-linux-gnu-g")  # beginnings of names


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.engine)
            item.add_marker(pytest.mark.timeout(300))


@dataclass
class EngineProcess:
    """A vLLM process that can be killed and started again."""

    command: EngineCommand
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        free_socket(self.command.socket)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command.argv,
                env=dict(self.command.environment),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until_ready(self.command.socket, 280, lambda: self.process is None or self.process.poll() is not None)

    def kill(self) -> None:
        """Kill the whole process group, as the guard does."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@contextmanager
def running_engine(
    base: Path, name: str, log: Path, *, max_loras: int = MAX_LORAS, **options: Any
) -> Iterator[EngineProcess]:
    """One engine for one base model, as the service starts it, but for the compilers."""
    directory = Path(tempfile.mkdtemp(prefix="engine-"))  # short: a socket's path has 107 bytes at most
    settings = EngineSettings(
        model=str(base),
        revision=None,
        served_name=name,
        socket=directory / "engine.sock",
        cache_directory=Path(sys.prefix) / "cache" / "vllm",
        device=find_device(),
        max_loras=max_loras,
        max_resident_adapters=MAX_RESIDENT,
        max_lora_rank=64,
        gpu_memory_share=0.45,
        kv_cache_gib=1,
        cpu_threads=engine_cpu_threads(str(base)),
        **{"cpu_dtype": choose_cpu_dtype(str(base)), **options},
    )
    inherited = os.environ | {"PATH": str(_path_without_compilers(directory / "bin"))}
    process = EngineProcess(build_command(settings, python=sys.executable, inherited=inherited), log)
    try:
        process.start()
        yield process
    finally:
        process.kill()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def engine_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    log = tmp_path_factory.mktemp("engine") / "engine.log"
    with running_engine(BASE, BASE_NAME, log, context_length=1024, tool_call_parser="hermes") as process:
        yield process


@pytest.fixture(scope="session")
def service(engine_process: EngineProcess) -> Iterator[RelayServer]:
    base = BaseModelEntry(
        name=BASE_NAME, source=str(BASE), aliases=(ALIAS,), context_length=1024, tool_call_parser="hermes"
    )
    limits = AdapterLimits(max_resident=MAX_RESIDENT, max_rank=64)
    socket = engine_process.command.socket
    checks = AdapterChecks(partial(read_base_shapes, BASE), GoldenExaminer())
    make_engine = partial(VllmEngine, base_model=BASE_NAME, socket=socket, limits=limits, checks=checks)
    with RelayServer(make_engine, base) as server:
        yield server


@pytest.fixture
def client(service: RelayServer) -> Iterator[openai.OpenAI]:
    with service.client() as client:
        yield client


@pytest.fixture(scope="session")
def adapter_files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Give the directory of the adapter with this seed; made once. Not to be changed: copy it."""
    root = tmp_path_factory.mktemp("adapters")

    def directory(seed: int) -> Path:
        path = root / str(seed)
        return path if path.exists() else make_adapter(BASE, path, seed=seed)

    return directory


@pytest.fixture
def new_model(
    service: RelayServer, adapter_files: Callable[[int], Path], tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[[int], AdapterRef]:
    """Make a model of the project "mine" with adapter files of its own."""

    def make(seed: int) -> AdapterRef:
        directory = tmp_path / f"adapter-{seed}"
        shutil.copytree(adapter_files(seed), directory)
        name = f"ft:{BASE_NAME}:acme:{abs(hash(request.node.name)) % 10**8}:{seed:08d}"
        return service.add_model(refer_to(directory, name, BASE_NAME, rank=RANK))

    return make


def ask(client: openai.OpenAI, model: str, text: str = "Hello! Who are you?", **options: Any) -> str:
    """Give the likeliest answer."""
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], **{"temperature": 0, "max_tokens": 12, **options}
    )
    return answer.choices[0].message.content or ""


def _path_without_compilers(directory: Path) -> Path:
    """Make a directory with every program of PATH but compilers."""
    directory.mkdir()
    for folder in reversed(os.environ["PATH"].split(os.pathsep)):
        for program in Path(folder).glob("*"):
            link = directory / program.name
            if not program.name.startswith(_COMPILERS):
                link.unlink(missing_ok=True)
                link.symlink_to(program)
    return directory
