"""A job that trains all weights, beside one that trains an adapter of the same base: two engines, for real."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.fine_tuning import FineTuningJob

from tests.acceptance.jobs import BASE, TASK, ask, create_job, small_file, upload, wait_until_ended
from tests.service import Service

pytestmark = [pytest.mark.torture, pytest.mark.timeout(480)]  # two trainings and two engines

HEADER = "x-tunesmith-adapter"
N_QUESTIONS = 30


def test_a_full_model_is_made_asked_beside_an_adapter_kept_from_others_and_deleted(
    service: Service, client: openai.OpenAI, stranger: openai.OpenAI
) -> None:
    full = wait_until_ended(service, client, create_full_job(client, 200))
    assert (full.status, full.error) == ("succeeded", None)
    name = full.fine_tuned_model or ""
    directory = service.home / "adapters" / name.rsplit(":", 1)[1]
    check_directory(directory)
    checkpoints = client.fine_tuning.jobs.checkpoints.list(full.id).data
    assert [checkpoint.fine_tuned_model_checkpoint for checkpoint in checkpoints] == [name]

    sha256 = hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()
    assert served_by(client, name) == f"sha256:{sha256}"
    questions = TASK.held_out[:N_QUESTIONS]
    right = sum(ask(client, name, question) == question.answer for question in questions)
    assert right >= N_QUESTIONS * 2 // 3, right
    assert ask(client, BASE, questions[0]) != questions[0].answer
    adapter = wait_until_ended(service, client, create_job(client, small_file(20), n_epochs=1))
    assert served_by(client, adapter.fine_tuned_model or "") not in (f"sha256:{sha256}", "none")
    assert len(service.processes("engine")) == 2

    proof = proof_of(service, name)
    assert (proof["proof"], proof["sha256"]) == ("reproduced", sha256)
    check_deletion(service, client, stranger, name, directory)


def create_full_job(client: openai.OpenAI, n_examples: int) -> FineTuningJob:
    hyperparameters: Any = {"n_epochs": 3, "adapter": {"type": "full"}}
    return client.fine_tuning.jobs.create(
        model=BASE,
        training_file=upload(client, small_file(n_examples)),
        suffix="whole",
        method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
    )


def served_by(client: openai.OpenAI, model: str) -> str:
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=TASK.held_out[0].prompt(), max_tokens=5
    )
    assert raw.parse().model == model
    return raw.headers[HEADER]


def proof_of(service: Service, model: str) -> dict[str, Any]:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(service.home / "run" / "control.sock"))) as http:
        (found,) = http.get("http://localhost/engines").json()[model]["adapters"]
    return dict(found)


def check_directory(directory: Path) -> None:
    manifest = json.loads((directory / "manifest.json").read_bytes())
    assert manifest["own_weights"]["dtype"] == "bfloat16"
    assert manifest["own_weights"]["logprob_gap"] < 0.02
    card = (directory / "README.md").read_text()
    assert "all of whose weights were trained" in card
    assert "PeftModel" not in card
    assert os.stat(directory / "model.safetensors").st_nlink <= 2  # the run's own name for it, until that is cleared


def check_deletion(
    service: Service, client: openai.OpenAI, stranger: openai.OpenAI, name: str, directory: Path
) -> None:
    question = TASK.held_out[0]
    with pytest.raises(openai.NotFoundError):
        ask(stranger, name, question)
    client.models.delete(name)
    with pytest.raises(openai.NotFoundError):
        ask(client, name, question)
    assert not directory.exists()
    service.wait_for(lambda: len(service.processes("engine")) == 1, "the full model's engine to end")
    service.wait_for(lambda: not left_of(service, directory.name), "what the engine needed to go")


def left_of(service: Service, place: str) -> list[Path]:
    return [*service.home.glob(f"run/engine-{place}.sock"), *service.home.glob(f"engines/{place}")]
