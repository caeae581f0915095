"""Two base models and memory for one, for real: the one that is asked is there, and while a job trains neither is."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.acceptance.jobs import TASK, create_job, small_file, wait_for_step, wait_until_ended
from tests.service import ROOT, Service

FIRST, SECOND = "first", "second"


pytestmark = [pytest.mark.torture, pytest.mark.timeout(900)]  # four starts of an engine, 30 s each on two cores


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    entry = '[[base_model]]\nname = "{}"\nsource = "{}"\ncontext_length = 1024\n'
    file = tmp_path / "base_models.toml"
    file.write_text("".join(entry.format(name, ROOT / "examples" / "demo_model") for name in (FIRST, SECOND)))
    service = Service()
    service.environment |= {
        "TUNESMITH_BASE_MODELS_FILE": str(file),
        "TUNESMITH_ENGINE_MEMORY_GIB": "3",
        "TUNESMITH_GPU_POLICY": "yield",
        "TUNESMITH_ENGINE_WAIT_S": "300",  # the job, and a start, on a machine with other work
    }
    try:
        service.start()
        yield service
        service.interrupt()
        service.assert_no_orphans()
    finally:
        service.stop()


def test_one_engine_makes_way_for_the_other_and_both_for_a_job(service: Service) -> None:
    with service.client() as client:
        assert said(service) == {FIRST: "ready", SECOND: "stopped: starts when it is asked"}
        seconds = {"second, first stopped": timed(client, SECOND)}
        assert said(service) == {FIRST: "stopped: made way for another", SECOND: "ready"}

        job = create_job(client, small_file(80), model=SECOND, n_epochs=6, batch_size=1)
        wait_for_step(service, client, job)
        assert not service.processes("engine")
        service.kill_parent()
        service.assert_no_orphans()
        service.start()
        wait_for_step(service, client, job, beyond=20)
        assert not service.processes("engine")
        assert service.is_ready()
        waited = threading.Thread(target=lambda: seconds.update({"while a job trains": timed(client, SECOND)}))
        waited.start()
        ended = wait_until_ended(service, client, job)
        waited.join()
        assert (ended.status, ended.error) == ("succeeded", None)
        assert not service.processes("trainer")
        seconds["the adapter"] = timed(client, ended.fine_tuned_model or "")
    table = service.tunesmith("engines")
    print(seconds, table, sep="\n")  # noqa: T201 - the figures are what a person runs this for
    assert [line.split()[0] for line in table.splitlines()[1:3]] == [FIRST, SECOND]


def timed(client: openai.OpenAI, model: str) -> float:
    """Ask, without trying again; how long the answer took, in seconds."""
    began = time.monotonic()
    answer = client.with_options(timeout=330).chat.completions.create(
        model=model, messages=TASK.held_out[0].prompt(), max_tokens=5
    )
    assert answer.choices[0].message.content
    return round(time.monotonic() - began, 1)


def said(service: Service) -> dict[str, str]:
    answer = httpx.get(service.base_url.removesuffix("/v1") + "/ready", timeout=10)
    return dict(answer.json()["engines"])
