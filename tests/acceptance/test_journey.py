"""The whole journey with the official client: files, a job on "auto", its model, and what is left of it."""

import csv
import hashlib
import io
import json
import math
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from support_desk_task import training_file

from tests.acceptance.jobs import (
    BASE,
    ENDED,
    TASK,
    ask,
    create_job,
    events_of,
    metrics_of,
    small_file,
    upload,
    wait_until_ended,
)
from tests.service import Service
from tests.wandb_files import history, read_records

ALIAS = "gpt-4o-mini-2024-07-18"
N_EXAMPLES = 300
N_QUESTIONS = 60
AUTO = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}


@dataclass(frozen=True)
class Journey:
    """A job that trained to its end, and what was seen meanwhile."""

    created: FineTuningJob
    job: FineTuningJob  # as it ended
    statuses: list[str]  # each once, in order
    estimates: list[int]  # of its end, while it ran
    events: list[FineTuningJobEvent]  # oldest first
    checkpoints: list[FineTuningJobCheckpoint]  # newest first
    tuned: str

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [dict(event.data) for event in self.events if event.type == "metrics"]  # type: ignore[call-overload]  # typed as object


@pytest.fixture(scope="session")
def journey(service: Service, client: openai.OpenAI) -> Journey:
    created = client.fine_tuning.jobs.create(
        model=BASE,
        training_file=upload(client, training_file(TASK.training[:N_EXAMPLES])),
        validation_file=upload(client, training_file(TASK.validation)),
        suffix="Support Desk",
        metadata={"team": "blue"},
        method={"type": "supervised", "supervised": {"hyperparameters": AUTO}},  # type: ignore[typeddict-item]  # of str
    )
    seen = [created]

    def ended() -> bool:
        seen.append(client.fine_tuning.jobs.retrieve(created.id))
        return seen[-1].status in ENDED

    service.wait_for(ended, f"job {created.id} to end", timeout_s=360)
    job = seen[-1]
    assert (job.status, job.error) == ("succeeded", None)
    assert job.fine_tuned_model is not None
    return Journey(
        created=created,
        job=job,
        statuses=list(dict.fromkeys(each.status for each in seen)),
        estimates=[each.estimated_finish for each in seen if each.status == "running" and each.estimated_finish],
        events=events_of(client, created.id),
        checkpoints=list(client.fine_tuning.jobs.checkpoints.list(created.id)),
        tuned=job.fine_tuned_model,
    )


def test_a_job_goes_through_its_statuses_in_order(journey: Journey) -> None:
    assert journey.created.status == "validating_files"
    order = ["validating_files", "queued", "running", "succeeded"]
    assert [status for status in order if status in journey.statuses] == journey.statuses
    assert {"validating_files", "running", "succeeded"} <= set(journey.statuses)


def test_auto_becomes_numbers(journey: Journey) -> None:
    assert journey.created.hyperparameters.model_dump() == AUTO
    numbers = journey.job.hyperparameters.model_dump()
    assert all(isinstance(numbers[name], int | float) for name in AUTO)
    assert journey.job.method is not None
    assert journey.job.method.supervised is not None
    assert journey.job.method.supervised.hyperparameters is not None
    shown = journey.job.method.supervised.hyperparameters.model_dump()
    assert {name: shown[name] for name in AUTO} == numbers
    assert "auto" not in shown.values()


def test_a_finished_job_says_all_there_is_to_say(journey: Journey) -> None:
    job = journey.job
    assert job.finished_at is not None
    assert job.created_at <= job.finished_at <= time.time() + 1
    assert job.trained_tokens is not None
    assert job.trained_tokens > N_EXAMPLES * int(str(job.hyperparameters.n_epochs))
    assert job.seed == journey.created.seed
    assert (job.metadata, job.estimated_finish) == ({"team": "blue"}, None)
    assert journey.tuned.startswith(f"ft:{BASE}:personal:support-desk:")
    assert len(job.result_files) == 1


def test_a_running_job_says_when_it_will_be_done(journey: Journey) -> None:
    assert journey.job.finished_at is not None
    assert journey.estimates
    assert abs(journey.estimates[-1] - journey.job.finished_at) < 60


def test_the_events_are_openais_in_openais_order(journey: Journey) -> None:
    job, messages = journey.job, [event.message for event in journey.events if event.type == "message"]
    earlier = [checkpoint for checkpoint in journey.checkpoints[::-1] if "ckpt-step" in _name(checkpoint)]
    checkpoint_messages = [message for message in messages if message.startswith("Checkpoint created at step ")]
    assert messages == [
        f"Created fine-tuning job: {job.id}",
        f"Validating training file: {job.training_file} and validation file: {job.validation_file}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
        *checkpoint_messages,
        f"New fine-tuned model created: {journey.tuned}",
        "The job has successfully completed",
    ]
    listed = [f"Checkpoint created at step {c.step_number} with Snapshot ID: {_name(c)}" for c in earlier]
    assert [message for message in checkpoint_messages if message in listed] == listed
    assert {event.level for event in journey.events} == {"info"}
    times = [event.created_at for event in journey.events]
    assert times == sorted(times)


def test_every_step_is_reported_once(journey: Journey) -> None:
    job = journey.job
    n_epochs, batch_size = int(str(job.hyperparameters.n_epochs)), int(str(job.hyperparameters.batch_size))
    total = n_epochs * math.ceil(N_EXAMPLES / batch_size)
    assert [data["step"] for data in journey.metrics] == list(range(1, total + 1))
    assert {data["total_steps"] for data in journey.metrics} == {total}
    for data in journey.metrics:
        assert math.isfinite(data["train_loss"])
        assert 0 <= data["train_mean_token_accuracy"] <= 1
    assert journey.metrics[-1]["train_loss"] < journey.metrics[0]["train_loss"] / 10
    whole = [data for data in journey.metrics if "full_valid_loss" in data]
    assert [data["step"] for data in whole] == [total // n_epochs * (epoch + 1) for epoch in range(n_epochs)]
    assert whole[-1]["full_valid_mean_token_accuracy"] > 0.9


def test_the_last_three_epochs_have_a_checkpoint_and_the_last_is_the_model(
    client: openai.OpenAI, journey: Journey
) -> None:
    total = journey.metrics[-1]["step"]
    steps_per_epoch = total // int(str(journey.job.hyperparameters.n_epochs))
    assert [c.step_number for c in journey.checkpoints] == [total - epoch * steps_per_epoch for epoch in range(3)]
    assert _name(journey.checkpoints[0]) == journey.tuned
    for checkpoint in journey.checkpoints[1:]:
        assert _name(checkpoint).startswith(f"ft:{BASE}:personal:support-desk:")
        assert _name(checkpoint).endswith(f":ckpt-step-{checkpoint.step_number}")
    assert len({_name(checkpoint).split(":")[4] for checkpoint in journey.checkpoints}) == 3
    for checkpoint in journey.checkpoints:
        assert checkpoint.metrics.full_valid_loss is not None
        assert ask(client, _name(checkpoint), TASK.held_out[0])


def test_the_model_and_each_checkpoint_can_be_taken_away_with_their_record(
    client: openai.OpenAI, stranger: openai.OpenAI, journey: Journey
) -> None:
    """By a plain HTTP client: the route is not OpenAI's."""
    for checkpoint in journey.checkpoints:
        url = f"{client.base_url}tunesmith/models/{_name(checkpoint)}/archive"
        answer = httpx.get(url, headers={"authorization": f"Bearer {client.api_key}"})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-length"] == str(len(answer.content))
        with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
            files = {Path(member.name).name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]  # all are files
        manifest = json.loads(files["manifest.json"])
        assert set(files) == {*manifest["files"], "manifest.json"}
        for name, file in manifest["files"].items():
            assert (len(files[name]), hashlib.sha256(files[name]).hexdigest()) == (file["bytes"], file["sha256"])
        assert (manifest["name"], manifest["step"]) == (_name(checkpoint), checkpoint.step_number)
        assert manifest["metrics"]["last"]["full_valid_loss"] == checkpoint.metrics.full_valid_loss
        assert b'license: "apache-2.0"' in files["README.md"]
        assert files["loss_curve.png"].startswith(b"\x89PNG")
        assert not any(question.message.encode() in files["manifest.json"] for question in TASK.training[:N_EXAMPLES])
        assert httpx.get(url, headers={"authorization": f"Bearer {stranger.api_key}"}).status_code == 404


def test_the_result_file_is_plain_csv(client: openai.OpenAI, journey: Journey) -> None:
    (file_id,) = journey.job.result_files
    file = client.files.retrieve(file_id)
    assert (file.filename, file.purpose) == ("step_metrics.csv", "fine-tune-results")
    header, *rows = csv.reader(client.files.content(file_id).text.splitlines())
    assert header == ["step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"]
    assert [row[:2] for row in rows] == [[str(d["step"]), str(round(d["train_loss"], 5))] for d in journey.metrics]


def test_the_model_has_learnt_what_its_base_cannot_do(client: openai.OpenAI, journey: Journey) -> None:
    """On questions of neither file, every other one streamed, several at a time."""
    questions = TASK.held_out[:N_QUESTIONS]
    assert _share_right(client, BASE, questions) <= 0.40
    assert _share_right(client, journey.tuned, questions) >= 0.90


def test_streamed_or_not_the_answer_is_the_same(client: openai.OpenAI, journey: Journey) -> None:
    for model in (BASE, journey.tuned):
        question = TASK.held_out[1]
        assert ask(client, model, question, stream=True) == ask(client, model, question, stream=False)


def test_the_model_is_listed_with_its_base_and_every_alias(client: openai.OpenAI, journey: Journey) -> None:
    listed = {model.id for model in client.models.list()}
    assert {BASE, ALIAS, journey.tuned} <= listed
    assert client.models.retrieve(journey.tuned).id == journey.tuned


def test_another_project_sees_nothing_of_it(stranger: openai.OpenAI, journey: Journey) -> None:
    """What is somebody else's is answered exactly as what never was."""
    assert journey.tuned not in {model.id for model in stranger.models.list()}
    assert journey.job.id not in {job.id for job in stranger.fine_tuning.jobs.list()}
    assert journey.job.training_file not in {file.id for file in stranger.files.list()}
    never_model = f"ft:{BASE}:personal:support-desk:00000000"
    never_job = "ftjob-" + "0" * 24
    never_file = "file-" + "0" * 24
    for theirs, never, act in (
        (journey.tuned, never_model, lambda name: ask(stranger, name, TASK.held_out[0])),
        (journey.tuned, never_model, stranger.models.retrieve),
        (journey.tuned, never_model, stranger.models.delete),
        (journey.job.id, never_job, stranger.fine_tuning.jobs.retrieve),
        (journey.job.id, never_job, stranger.fine_tuning.jobs.cancel),
        (journey.job.id, never_job, stranger.fine_tuning.jobs.list_events),
        (journey.job.id, never_job, stranger.fine_tuning.jobs.checkpoints.list),
        (journey.job.training_file, never_file, stranger.files.retrieve),
        (journey.job.training_file, never_file, stranger.files.content),
        (journey.job.training_file, never_file, stranger.files.delete),
    ):
        assert _not_found(act, theirs) == _not_found(act, never)


def test_code_that_asks_for_an_alias_gets_it_everywhere_and_a_deleted_model_is_gone(
    service: Service, client: openai.OpenAI
) -> None:
    wandb: Any = {"type": "wandb", "wandb": {"project": "support"}}
    job = create_job(client, small_file(12), model=ALIAS, n_epochs=1, batch_size=4, integrations=[wandb])
    job = wait_until_ended(service, client, job)
    _assert_logged(service, client, job)
    assert (job.status, job.model) == ("succeeded", ALIAS)
    name = job.fine_tuned_model
    assert name is not None
    assert name.startswith(f"ft:{ALIAS}:personal::")
    assert [data["step"] for data in metrics_of(client, job.id)] == [1, 2, 3]
    ask(client, name, TASK.held_out[0])
    assert client.models.delete(name).deleted
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, name, TASK.held_out[0])
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(name)
    assert name not in {model.id for model in client.models.list()}
    assert service.is_ready()
    ask(client, ALIAS, TASK.held_out[0])


def _assert_logged(service: Service, client: openai.OpenAI, job: FineTuningJob) -> None:
    """Every step is a step of the job's run at Weights & Biases, which is written to files here."""
    assert job.integrations is not None
    assert [(item.type, item.wandb.project) for item in job.integrations] == [("wandb", "support")]
    directory = service.home / "wandb" / f"{job.id}-0"
    service.wait_for(lambda: not service.processes("integration") and directory.is_dir(), "the run to be logged")
    records = read_records(directory)
    logged = [
        {name: float(value) for name, value in step.items() if not name.startswith("_")} for step in history(records)
    ]
    steps = [{name: value for name, value in data.items() if name != "step"} for data in metrics_of(client, job.id)]
    assert logged == steps
    (end,) = [record.exit for record in records if record.WhichOneof("record_type") == "exit"]
    assert end.exit_code == 0


def _name(checkpoint: FineTuningJobCheckpoint) -> str:
    return checkpoint.fine_tuned_model_checkpoint


def _share_right(client: openai.OpenAI, model: str, questions: list[Any]) -> float:
    with ThreadPoolExecutor(max_workers=8) as pool:
        said = pool.map(lambda item: ask(client, model, item[1], stream=item[0] % 2 == 0), enumerate(questions))
        return sum(a == question.answer for a, question in zip(said, questions, strict=True)) / len(questions)


def _not_found(act: Any, name: str) -> tuple[str, str | None, str | None]:
    """The error of a thing that is not there, without its name."""
    with pytest.raises(openai.NotFoundError) as caught:
        act(name)
    return caught.value.message.replace(name, "NAME"), caught.value.code, caught.value.param
