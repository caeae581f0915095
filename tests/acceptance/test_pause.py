"""Pausing for real: the snapshot answers while the job rests, and the job ends as if it had never been paused."""

import openai
from openai.types.fine_tuning import FineTuningJob

from tests.acceptance.jobs import (
    TASK,
    ask,
    create_job,
    events_of,
    metrics_of,
    small_file,
    wait_for_step,
    wait_until_ended,
)
from tests.service import Service

OPTIONS = {"n_epochs": 6, "batch_size": 2, "seed": 11}
N_EXAMPLES, TOTAL_STEPS = 60, 180


def test_a_paused_job_can_be_asked_and_goes_on_as_if_nothing_had_been(service: Service, client: openai.OpenAI) -> None:
    whole = create_job(client, small_file(N_EXAMPLES), **OPTIONS)
    wait_until_ended(service, client, whole)
    paused = create_job(client, small_file(N_EXAMPLES), **OPTIONS)  # not before: it would run while that is published
    at = wait_for_step(service, client, paused, beyond=40)

    loose = service.client(strict=False)  # the client's list of words lacks `paused`
    assert loose.fine_tuning.jobs.pause(paused.id).status == "paused"
    service.wait_for(lambda: not service.processes("trainer"), "the trainer to end")
    snapshot = service.wait_for(lambda: snapshot_of(client, paused), "the snapshot to be listed")
    step = int(snapshot.rsplit("-", 1)[1])
    assert at <= step < TOTAL_STEPS
    assert snapshot in {model.id for model in client.models.list()}
    ask(client, snapshot, TASK.held_out[0])
    assert loose.fine_tuning.jobs.retrieve(paused.id).status == "paused"

    assert client.fine_tuning.jobs.resume(paused.id).status == "queued"
    ended = wait_until_ended(service, client, paused)
    assert ended.status == "succeeded"
    metrics = metrics_of(client, paused.id)
    assert [data["step"] for data in metrics] == list(range(1, TOTAL_STEPS + 1))
    assert metrics == metrics_of(client, whole.id)

    further_training_begins_where_the_model_ended(service, client, ended)


def snapshot_of(client: openai.OpenAI, job: FineTuningJob) -> str | None:
    """The checkpoint of the last step that was reported."""
    last = metrics_of(client, job.id)[-1]["step"]
    (newest,) = client.fine_tuning.jobs.checkpoints.list(job.id, limit=1).data or [None]
    return newest.fine_tuned_model_checkpoint if newest is not None and newest.step_number == last else None


def further_training_begins_where_the_model_ended(
    service: Service, client: openai.OpenAI, parent: FineTuningJob
) -> None:
    assert parent.fine_tuned_model is not None
    options = {**OPTIONS, "n_epochs": 1}
    created = create_job(client, small_file(N_EXAMPLES), model=parent.fine_tuned_model, suffix="on", **options)
    assert created.model == parent.fine_tuned_model
    job = wait_until_ended(service, client, created)
    assert (job.status, job.error) == ("succeeded", None)
    assert (job.fine_tuned_model or "").startswith("ft:tunesmith-demo:personal:on:")
    first_epoch, last_epoch = metrics_of(client, parent.id)[:30], metrics_of(client, parent.id)[-30:]
    began = mean_loss(metrics_of(client, job.id))
    assert began < (mean_loss(first_epoch) + mean_loss(last_epoch)) / 2
    assert "Fine-tuning job started" in [event.message for event in events_of(client, job.id)]


def mean_loss(metrics: list[dict[str, float]]) -> float:
    return sum(data["train_loss"] for data in metrics) / len(metrics)
