"""`tunesmith serve` as its operator meets it: what it prints, and how it refuses."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.acceptance.jobs import BASE, TASK, ask
from tests.service import READY, ROOT, Service

WITHIN_S = 60


@pytest.fixture
def unstarted() -> Iterator[Service]:
    service = Service()
    try:
        yield service
    finally:
        service.stop()


def refusal(service: Service, *arguments: str) -> str:
    """The one line with which `tunesmith serve` ends at once."""
    process = service.start_without_waiting(*arguments)
    try:
        code = process.wait(WITHIN_S)
    except subprocess.TimeoutExpired:
        pytest.fail(f"still running after {WITHIN_S} s\n{service.logs()}")
    assert code not in (0, None)
    assert READY not in service.output()
    lines = service.output().strip().splitlines()
    assert "Traceback" not in service.output()
    service.assert_no_orphans()
    return lines[-1]


def test_a_port_that_is_in_use_is_named(unstarted: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refusal(unstarted, "--port", str(port))
    assert line.startswith("tunesmith: ")
    assert str(port) in line
    assert "in use" in line
    assert "--port" in line


def test_a_base_models_file_that_is_not_there_is_named(unstarted: Service, tmp_path: Path) -> None:
    unstarted.environment["TUNESMITH_BASE_MODELS_FILE"] = str(tmp_path / "none.toml")
    assert f"cannot read the base models file {tmp_path / 'none.toml'}" in refusal(unstarted, "--port", "0")


def test_a_base_model_that_is_not_there_is_named(unstarted: Service, tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text('[[base_model]]\nname = "mine"\nsource = "./nowhere"\ncontext_length = 64\n')
    unstarted.environment["TUNESMITH_BASE_MODELS_FILE"] = str(file)
    line = refusal(unstarted, "--port", "0")
    assert f"there is no directory {tmp_path / 'nowhere'}" in line
    assert "'mine'" in line


def test_a_setting_that_cannot_be_is_named(unstarted: Service) -> None:
    unstarted.environment["TUNESMITH_MAX_RUNNING_JOBS"] = "none"
    assert "TUNESMITH_MAX_RUNNING_JOBS: expected a number, got 'none'" in refusal(unstarted)


def test_a_second_service_on_the_same_home_is_refused_and_the_first_goes_on(
    service: Service, client: openai.OpenAI
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "server", "serve", "--home", str(service.home), "--port", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode not in (0, None)
    assert "Traceback" not in done.stderr
    assert str(service.home) in done.stderr
    assert service.is_ready()
    ask(client, BASE, TASK.held_out[0])


def test_the_first_start_shows_keys_once_and_a_public_address_brings_a_warning(unstarted: Service) -> None:
    unstarted.environment = {"TUNESMITH_API_PROCESSES": "2"}
    unstarted.start("--host", "0.0.0.0")
    assert len(unstarted.processes("api")) == 2
    first = unstarted.output()
    assert "warning" in first.lower()
    assert re.fullmatch(r"http://\S+:\d+/v1", unstarted.base_url)
    assert [line for line in first.splitlines() if line.startswith(READY)] == [READY + unstarted.base_url]
    keys = re.findall(r"sk-tunesmith-\S+", first)
    assert len(set(keys)) == len(keys) == 2
    assert unstarted.interrupt() == 0
    unstarted.assert_no_orphans()

    unstarted.start()
    assert "sk-tunesmith-" not in unstarted.output()
    assert "warning" not in unstarted.output().lower()
    for key in keys:
        with unstarted.client(key) as client:
            assert ask(client, BASE, TASK.held_out[0])
    with unstarted.client("sk-tunesmith-wrong") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()
