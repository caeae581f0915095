"""A job with everything that is decided once, killed at every stage of its life, ends like one that was left alone."""

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2
import openai
import pytest
from openai.types.fine_tuning import FineTuningJob

from server.vocabulary import EventType
from tests.acceptance.conftest import running_service
from tests.acceptance.jobs import (
    BASE,
    ENDED,
    events_of,
    half_written_files,
    small_file,
    upload,
    wait_until_ended,
)
from tests.service import Service

pytestmark = [pytest.mark.torture, pytest.mark.timeout(3600)]

N_KILLS = 24
STAGES = ("validating", "estimating", "training", "publishing")
ENDS = ("trainer", "worker", "worker", "api", "tree", "parent")
WITHOUT_A_COUNT = 2  # deaths of one job's trainer, which are its own: the third fails it
_CHECKPOINT = re.compile(r"Checkpoint created at step (\d+)")
_UNIQUE = re.compile(r"ft:[^\s,]+|file-\w+|ftjob-\w+")


@dataclass(frozen=True)
class Outcome:
    """What must be the same, kill or no kill."""

    events: list[tuple[str, str, Any]]
    adapters: list[tuple[int, bytes]]
    no_longer_listed: list[str] = field(compare=False)  # what was said of such checkpoints, in its order


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running_service() as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[openai.OpenAI]:
    with service.client() as client:
        yield client


@dataclass(frozen=True)
class Wanted:
    """One job, over and over: the files stay, so that estimates and checks meet the kept tokens too."""

    training: str
    mixed_in: str

    def body(self) -> dict[str, Any]:
        hyperparameters = {
            "n_epochs": 8,
            "batch_size": 4,
            "learning_rate_multiplier": 50.0,
            "early_stopping_patience": 1,
        }
        data = {"holdout": 0.2, "pilot": 60, "mix_in": [{"file": self.mixed_in, "ratio": 0.25}]}
        method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
        return {"model": BASE, "training_file": self.training, "method": method, "data": data, "seed": 11}

    def create(self, client: openai.OpenAI) -> FineTuningJob:
        return client.post("/fine_tuning/jobs", body=self.body(), cast_to=FineTuningJob)

    def estimate(self, client: openai.OpenAI) -> None:
        client.post("/fine_tuning/estimate", body=self.body(), cast_to=object)


def outcome_of(service: Service, client: openai.OpenAI, job: FineTuningJob) -> Outcome:
    ended = wait_until_ended(service, client, job)
    assert (ended.status, ended.error) == ("succeeded", None), service.logs()
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    listed = {one.step_number for one in checkpoints}
    told = events_of(client, job.id)
    messages = [_UNIQUE.sub("<id>", event.message) for event in told]
    events = [
        (str(event.type), message, event.data if event.type == EventType.METRICS else None)
        for event, message in zip(told, messages, strict=True)
        if not is_of_an_old_checkpoint(message, listed)
    ]
    adapters = [(one.step_number, adapter_bytes(service, one.fine_tuned_model_checkpoint)) for one in checkpoints]
    assert ended.fine_tuned_model is not None
    old = [message for message in messages if is_of_an_old_checkpoint(message, listed)]
    return Outcome(events, [(-1, adapter_bytes(service, ended.fine_tuned_model)), *adapters], old)


def is_of_an_old_checkpoint(message: str, listed: set[int]) -> bool:
    """Of one that is not listed any more: if the worker is away for some epochs of two seconds, it never was."""
    found = _CHECKPOINT.match(message)
    return found is not None and int(found[1]) not in listed


def adapter_bytes(service: Service, name: str) -> bytes:
    unique = name.split(":ckpt-")[0].rsplit(":", 1)[1]
    (directory,) = [path for path in (service.home / "adapters").iterdir() if path.name.startswith(unique)]
    return (directory / "adapter_model.safetensors").read_bytes()


def left_over(service: Service) -> list[str]:
    """What nothing stands for any more: run directories but their logs, estimates, half-written files."""
    found = [path for path in service.home.glob("runs/*/*/*") if path.name != "trainer.log"]
    found += [*service.home.glob("estimates/*"), *service.home.glob("tokenized/.staged-*")]
    return [str(path.relative_to(service.home)) for path in [*found, *half_written_files(service.home)]]


def wait_for_stage(service: Service, job: FineTuningJob, client: openai.OpenAI, stage: str) -> None:
    run = service.home / "runs" / job.id
    signs: dict[str, Callable[[], bool]] = {
        "validating": lambda: (run / "check").is_dir(),
        "estimating": lambda: any((service.home / "estimates").glob("*/*")),
        "training": lambda: any('"progress"' in path.read_text() for path in run.glob("*/events.jsonl")),
        "publishing": lambda: any(run.glob("*/adapter")) or any((service.home / "adapters").glob("*.tmp")),
    }

    def reached() -> bool:
        return signs[stage]() or client.with_options(max_retries=5).fine_tuning.jobs.retrieve(job.id).status in ENDED

    service.wait_for(reached, f"the stage {stage}")


def end(service: Service, how: str) -> None:
    if how in ("parent", "tree"):
        {"parent": service.kill_parent, "tree": service.kill_tree}[how]()
        service.assert_no_orphans()
        service.start()
    elif service.processes(how):
        for process in service.processes(how):
            process.kill()


def ask_for_an_estimate(client: openai.OpenAI, wanted: Wanted) -> threading.Thread:
    """It may be cut off, or be refused because another is being made."""

    def ask() -> None:
        with suppress(openai.APIError, httpx2.TransportError):
            wanted.estimate(client)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_a_job_killed_at_any_stage_ends_like_one_that_was_left_alone(service: Service, client: openai.OpenAI) -> None:
    chance = random.Random(4)
    wanted = Wanted(upload(client, small_file(80)), upload(client, small_file(100)[-20_000:].split(b"\n", 1)[1]))
    undisturbed = outcome_of(service, client, wanted.create(client))
    assert any("stopped early" in message for _, message, _ in undisturbed.events)
    done: list[tuple[str, str]] = []
    while len(done) < N_KILLS:
        job, n_trainers = wanted.create(client), 0
        for stage in sorted(chance.sample(STAGES, 3), key=STAGES.index):
            how = chance.choice(ENDS if n_trainers < WITHOUT_A_COUNT else ENDS[1:])
            asking = ask_for_an_estimate(client, wanted) if stage == "estimating" else None
            wait_for_stage(service, job, client, stage)
            time.sleep(chance.uniform(0.0, 0.05 if stage == "publishing" else 3.0))  # any moment of it will do
            n_trainers += how == "trainer"
            end(service, how)
            done.append((stage, how))
            if asking is not None:
                asking.join()
        service.wait_until_ready()
        outcome = outcome_of(service, client, job)
        assert outcome == undisturbed, done[-3:]
        left = iter(undisturbed.no_longer_listed)
        assert all(message in left for message in outcome.no_longer_listed), "each in its order, once"
        service.wait_for(lambda: not left_over(service), "nothing to be left over")
        print(done[-3:], flush=True)  # noqa: T201
