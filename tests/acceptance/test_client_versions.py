"""The quick start, as it stands, with every generation of the official client, and the same journey from Node."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.jobs import BASE, small_file
from tests.clients.installing import client_version, node_with_client, python_with
from tests.service import KEY, ROOT, Service

OLDER = ("1.109.1", "2.54.0")
NEWEST = "3.54.0"  # the one that these tests use themselves


@pytest.mark.parametrize("version", [*(pytest.param(version, marks=pytest.mark.torture) for version in OLDER), NEWEST])
def test_the_quick_start_runs_unmodified(service: Service, version: str) -> None:
    assert_it_runs(service, version, ROOT / "examples" / "quickstart.py")


@pytest.mark.parametrize("version", [OLDER[0], pytest.param(OLDER[1], marks=pytest.mark.torture)])
def test_every_call_of_the_quick_start_works_with_older_clients(service: Service, version: str) -> None:
    assert_it_runs(service, version, ROOT / "tests" / "clients" / "short_quickstart.py")


def assert_it_runs(service: Service, version: str, script: Path) -> None:
    python = python_with(version) if version in OLDER else Path(sys.executable)
    said = run([python, "-c", "import openai; print(openai.__version__)"], service)
    assert said.stdout.strip() == version

    journey = run([python, script, "--seed", "2"], service)

    assert journey.returncode == 0, journey.stdout + journey.stderr


def test_the_node_client_makes_the_same_journey(service: Service, tmp_path: Path) -> None:
    node, directory = node_with_client()
    training = tmp_path / "training.jsonl"
    training.write_bytes(small_file(20))

    journey = run([node, "journey.mjs", training, BASE], service, cwd=directory)

    assert journey.returncode == 0, journey.stdout + journey.stderr
    assert f"ft:{BASE}:personal:node:" in journey.stdout, client_version(directory)


def test_the_node_client_reaches_what_else_a_model_is_used_through(service: Service) -> None:
    node, directory = node_with_client()

    reached = run([node, "rest_of_the_api.mjs", BASE], service, cwd=directory)

    assert reached.returncode == 0, reached.stdout + reached.stderr
    assert reached.stdout.splitlines() == ["all of it is there"]


def run(command: list[str | Path], service: Service, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OPENAI_BASE_URL": service.base_url, "OPENAI_API_KEY": KEY}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=400)
