"""Cancelling for real: the process ends, the job stays cancelled."""

import openai
import pytest

from tests.acceptance.jobs import create_job, events_of, small_file, wait_for_step
from tests.service import Service

GONE_WITHIN_S = 10.0


def test_cancelling_a_running_job_ends_its_process_and_a_queued_one_never_gets_one(
    service: Service, client: openai.OpenAI
) -> None:
    running = create_job(client, small_file(200), n_epochs=20, batch_size=1)
    wait_for_step(service, client, running)
    queued = create_job(client, small_file(20), n_epochs=1)  # later: the first that is validated is the first to start
    assert service.processes("trainer")

    for job in (queued, running):
        assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    service.wait_for(lambda: not service.processes("trainer"), "the trainer to end", timeout_s=GONE_WITHIN_S)

    for job in (running, queued):
        ended = client.fine_tuning.jobs.retrieve(job.id)
        assert (ended.status, ended.fine_tuned_model, ended.error, ended.result_files) == ("cancelled", None, None, [])
        assert ended.finished_at is not None
        assert events_of(client, job.id)[-1].message == "The job was cancelled"
        with pytest.raises(openai.BadRequestError) as caught:
            client.fine_tuning.jobs.cancel(job.id)
        assert f'Cannot cancel a job {job.id} that already has status "cancelled".' in caught.value.message
        assert (caught.value.type, caught.value.param, caught.value.code) == ("invalid_request_error", None, None)
    assert "Fine-tuning job started" not in [event.message for event in events_of(client, queued.id)]
    assert "cancelled" in service.tunesmith("jobs", "list")
