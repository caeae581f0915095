"""Batches over tuned models through the real engine: each line once, whoever is killed on the way."""

import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import openai
import pytest

from tests.acceptance.batches import (
    assert_each_once,
    create_batch,
    has_answered,
    import_models,
    requests_of,
    said_alone,
    wait_for,
)
from tests.acceptance.conftest import running_service
from tests.service import Service

LINES, KILLED_AFTER = 60, 10
MANY = 2000


def test_a_batch_over_three_models_is_answered_once_though_the_worker_is_killed(
    service: Service, client: openai.OpenAI, tmp_path: Path
) -> None:
    models = import_models(service, tmp_path, 3)
    said = said_alone(client, models)
    requests = requests_of(models, LINES)

    batch = create_batch(client, requests)
    wait_for(service, client, batch, has_answered(KILLED_AFTER))
    service.kill("worker")
    batch = wait_for(service, client, batch, lambda now: now.status == "completed")

    assert_each_once(client, batch, requests, said)


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_two_thousand_lines_survive_a_kill_of_each_part(tmp_path: Path) -> None:
    with running_service() as service, service.client(max_retries=5) as client:
        models = import_models(service, tmp_path, 3)
        said = said_alone(client, models)
        requests = requests_of(models, MANY)
        alone_s = first_tokens_s(client, models[0])

        batch = create_batch(client, requests)
        wait_for(service, client, batch, has_answered(50))
        beside_s = first_tokens_s(client, models[0])
        for number, kill in enumerate(_kills(service), start=1):
            now = wait_for(service, client, batch, has_answered(number * MANY // 8), timeout_s=1800)
            assert now.status == "in_progress"
            kill()
        batch = wait_for(service, client, batch, lambda now: now.status == "completed", timeout_s=1800)

        assert_each_once(client, batch, requests, said)
        for name, times in (("alone", alone_s), ("beside the batch", beside_s)):
            print(f"first token {name}: median {1000 * statistics.median(times):.0f} ms, worst {1000 * max(times):.0f}")  # noqa: T201


def _kills(service: Service) -> list[Callable[[], object]]:
    def whole_tree() -> None:
        service.kill_tree()
        service.start()

    def parent() -> None:
        service.kill_parent()
        service.assert_no_orphans()
        service.start()

    return [
        lambda: service.kill("worker"),
        lambda: service.kill("engine"),
        lambda: service.kill("api"),
        parent,
        whole_tree,
    ]


def first_tokens_s(client: openai.OpenAI, model: str, n: int = 30) -> list[float]:
    """How long a client waits for the first token of each of its answers, one after the other."""
    times = []
    pauses = random.Random(1)
    for number in range(n):
        began = time.monotonic()
        with client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": f"Hello, for the time number {number}!"}],
            max_tokens=4,
            stream=True,
        ) as stream:
            next(iter(stream))
            times.append(time.monotonic() - began)
            for _ in stream:
                pass
        time.sleep(pauses.uniform(0.05, 0.2))
    return times
