"""The relays that `benchmarks relay` compares, each a process of its own before the same mock engine."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine
from sqlmodel import Session

from benchmarks.load import RefusedByRelay, Target, load
from benchmarks.served import Served, serve
from inference.adapter_files import WEIGHTS
from server.auth.api_keys import create_key
from server.base_models import load_base_models
from server.bootstrap import build_services
from server.db.tables import FineTunedModelRow
from server.settings import Settings, load_settings
from tests.adapter_files import refer_to, write_adapter, write_tensors

MODEL = "ft:tunesmith-demo:benchmark::relay001"
_PROJECT = "benchmark"
_RANK, _WIDTH = 4, 256  # of the demo model
_START_TIMEOUT_S = 120.0


@contextmanager
def ours(home: Path) -> Iterator[tuple[Served, Target]]:
    """The API process as `serve` starts it, asked for a fine-tuned model of a project by a key of the database."""
    settings = load_settings({"TUNESMITH_HOME": str(home)})
    key = _fill(settings)
    settings.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (
        run("benchmarks.mock_engine", "--uds", str(settings.engine_socket(0))),
        serve(home, "server", "api") as served,
    ):
        yield served, ready(Target(served.port, MODEL, key))


@contextmanager
def bare(home: Path) -> Iterator[tuple[Served, Target]]:
    engine = home / "engine.sock"
    with run("benchmarks.mock_engine", "--uds", str(engine)), socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        with run("benchmarks.bare_relay", "--uds", str(engine), "--listen-fd", str(fd), pass_fds=(fd,)) as process:
            served = Served(process.pid, listener.getsockname()[1])
            yield served, ready(Target(served.port, MODEL, "nobody asks"))


@contextmanager
def nothing(home: Path) -> Iterator[tuple[Served, Target]]:
    """No relay: the mock engine itself, on a port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    with run("benchmarks.mock_engine", "--uds", str(home / "engine.sock"), "--port", str(port)) as process:
        yield Served(process.pid, port), ready(Target(port, MODEL, "nobody asks"))


@contextmanager
def run(*module: str, pass_fds: tuple[int, ...] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m MODULE …` until it is no longer needed."""
    process = subprocess.Popen([sys.executable, "-m", *module], pass_fds=pass_fds)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def ready(target: Target) -> Target:
    """Wait until requests are answered, whole and as streams."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            load(target.port, [target.request(stream=False), target.request(stream=True)], 1)
        except (RefusedByRelay, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return target


def _fill(settings: Settings) -> str:
    """Make a project with a key and a fine-tuned model. Gives the key."""
    database = build_services(settings).database
    key = create_key(database, _PROJECT)
    with Session(create_engine(f"sqlite:///{settings.database}")) as session:  # without foreign keys: no job made it
        sha256 = _write_adapter(settings.adapters / "benchmark")
        base = load_base_models(settings.base_models_file).entries[0].name
        project = session.connection().exec_driver_sql("SELECT id FROM project WHERE name = ?", (_PROJECT,)).scalar()
        session.add(
            FineTunedModelRow(
                name=MODEL,
                project_id=str(project),
                job_id="ftjob-benchmark",
                base_model=base,
                directory="benchmark",
                rank=_RANK,
                sha256=sha256,
                created_at=int(time.time()),
            )
        )
        session.commit()
    return key.plaintext


def _write_adapter(directory: Path) -> str:
    """Write one that fits the demo model. Gives the hash of its weights."""
    write_adapter(directory, rank=_RANK)
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    values = bytes(4 * _RANK * _WIDTH)
    factors = {"lora_A": [_RANK, _WIDTH], "lora_B": [_WIDTH, _RANK]}
    tensors = {f"{layer}.{name}.weight": ("F32", shape, values) for name, shape in factors.items()}
    write_tensors(directory / WEIGHTS, tensors)
    return refer_to(directory, MODEL, "").sha256
