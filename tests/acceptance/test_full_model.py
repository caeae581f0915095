"""A job that trains all weights, beside one that trains an adapter of the same base: two engines, for real."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.fine_tuning import FineTuningJob

from tests.acceptance.jobs import BASE, TASK, ask, create_job, small_file, upload, wait_until_ended
from tests.service import Service

HEADER = "x-tunesmith-adapter"
N_QUESTIONS = 30


def create_full_job(client: openai.OpenAI, n_examples: int, *, model: str = BASE, **more: Any) -> FineTuningJob:
    hyperparameters = {"n_epochs": 3, "adapter": {"type": "full"}, **more}
    return client.fine_tuning.jobs.create(
        model=model,
        training_file=upload(client, small_file(n_examples)),
        suffix="whole",
        method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},  # type: ignore[typeddict-item]  # ours
    )


@pytest.fixture(scope="module")
def full(service: Service, client: openai.OpenAI) -> FineTuningJob:
    job = wait_until_ended(service, client, create_full_job(client, 200))
    assert (job.status, job.error) == ("succeeded", None)
    return job


def test_a_full_model_is_made_asked_beside_an_adapter_shared_with_nobody_and_deleted(
    service: Service, client: openai.OpenAI, stranger: openai.OpenAI, full: FineTuningJob
) -> None:
    name = full.fine_tuned_model or ""
    directory = service.home / "adapters" / name.rsplit(":", 1)[1]
    sha256 = hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()
    raw = client.chat.completions.with_raw_response.create(model=name, messages=TASK.held_out[0].prompt(), max_tokens=5)
    assert raw.headers[HEADER] == f"sha256:{sha256}"
    assert raw.parse().model == name

    questions = TASK.held_out[:N_QUESTIONS]
    right = sum(ask(client, name, question) == question.answer for question in questions)
    assert right >= N_QUESTIONS * 2 // 3, right
    assert ask(client, BASE, questions[0]) != questions[0].answer

    adapter = wait_until_ended(service, client, create_job(client, small_file(20), n_epochs=1))
    assert adapter.fine_tuned_model is not None
    beside = client.chat.completions.with_raw_response.create(
        model=adapter.fine_tuned_model, messages=TASK.held_out[0].prompt(), max_tokens=5
    )
    assert beside.headers[HEADER] not in (f"sha256:{sha256}", "none")
    assert len(service.processes("engine")) == 2
    assert f"{name} " in service.tunesmith("engines")

    with pytest.raises(openai.NotFoundError):
        ask(stranger, name, questions[0])
    client.models.delete(name)
    with pytest.raises(openai.NotFoundError):
        ask(client, name, questions[0])
    service.wait_for(lambda: len(service.processes("engine")) == 1, "the full model's engine to end")
    assert not directory.exists()
    assert not list(service.home.glob(f"**/engine-{directory.name}.sock"))


def test_the_published_directory_says_what_it_is(service: Service, full: FineTuningJob) -> None:
    directory = _of(service, full)
    manifest = json.loads((directory / "manifest.json").read_bytes())
    assert manifest["own_weights"]["dtype"] == "bfloat16"
    assert manifest["own_weights"]["logprob_gap"] < 0.02
    card = (directory / "README.md").read_text()
    assert "all of whose weights were trained" in card
    assert "PeftModel" not in card
    assert os.stat(directory / "model.safetensors").st_nlink == 1  # the run's own name for it is gone


def test_its_epochs_have_no_models(client: openai.OpenAI, full: FineTuningJob) -> None:
    checkpoints = client.fine_tuning.jobs.checkpoints.list(full.id).data
    assert [checkpoint.fine_tuned_model_checkpoint for checkpoint in checkpoints] == [full.fine_tuned_model]


def _of(service: Service, job: FineTuningJob) -> Path:
    return service.home / "adapters" / (job.fine_tuned_model or "").rsplit(":", 1)[1]
