"""LiteLLM's proxy before the mock engine, in an environment of its own, which is made at the first time."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.load import Target
from benchmarks.relays import MODEL, ready, run
from benchmarks.served import Served

_ROOT = Path(__file__).resolve().parents[1]
_REQUIREMENTS = Path(__file__).with_name("litellm.txt")
_KEY = "sk-benchmark"
_INSTALL_TIMEOUT_S = 900


class NotInstallable(Exception):
    """There is no LiteLLM here, and none can be installed; the message says why."""


def install() -> Path:
    """Give the directory of its programs: in TUNESMITH_BENCH_LITELLM, or in .cache of this tree."""
    environment = Path(os.environ.get("TUNESMITH_BENCH_LITELLM", _ROOT / ".cache" / "litellm"))
    programs = environment / "bin"
    stamp = environment / "installed.txt"
    wanted = _REQUIREMENTS.read_text("utf-8")
    if not stamp.exists() or stamp.read_text("utf-8") != wanted:
        try:
            subprocess.run([sys.executable, "-m", "venv", environment], check=True, capture_output=True)
            pip = [programs / "python", "-m", "pip", "install", "--quiet", "-r", _REQUIREMENTS]
            subprocess.run(pip, check=True, capture_output=True, timeout=_INSTALL_TIMEOUT_S)
        except (OSError, subprocess.SubprocessError) as error:
            raise NotInstallable(f"it cannot be installed: {error}") from error
        stamp.write_text(wanted, "utf-8")
    return programs


@contextmanager
def litellm(home: Path) -> Iterator[tuple[Served, Target]]:
    """One worker, a key that is asked for, no database, nothing logged. It speaks to engines over TCP alone."""
    programs = install()
    engine_port, port = _free_port(), _free_port()
    config = home / "config.yaml"
    engine = {"model": f"openai/{MODEL}", "api_base": f"http://127.0.0.1:{engine_port}/v1", "api_key": "none"}
    settings = {
        "model_list": [{"model_name": MODEL, "litellm_params": engine}],
        "general_settings": {"master_key": _KEY},
        "litellm_settings": {"telemetry": False},
    }
    config.write_text(json.dumps(settings), "utf-8")  # JSON is YAML
    environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_DOCS": "True"}
    arguments = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    with (
        run("benchmarks.mock_engine", "--uds", str(home / "engine.sock"), "--port", str(engine_port)),
        (home / "litellm.log").open("ab") as log,
    ):
        process = subprocess.Popen([programs / "litellm", *arguments], env=environment, stdout=log, stderr=log)
        try:
            served = Served(process.pid, port)
            yield served, ready(Target(port, MODEL, _KEY))
        finally:
            process.terminate()
            process.wait(timeout=30)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
