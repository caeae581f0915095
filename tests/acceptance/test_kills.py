"""Killed for real, in the middle of a job and in the middle of an answer: what was begun is ended, once."""

from collections.abc import Iterator

import httpx2
import openai
import pytest
from openai.types.fine_tuning import FineTuningJob

from tests.acceptance.conftest import running_service
from tests.acceptance.jobs import (
    TASK,
    ask,
    create_job,
    events_of,
    half_written_files,
    metrics_of,
    small_file,
    upload,
    wait_for_step,
    wait_until_ended,
)
from tests.service import Service

END_OF_TURN = "2"  # the demo model's token


@pytest.fixture(
    scope="module", params=["1", pytest.param("2", marks=pytest.mark.torture)], ids=["one API process", "two"]
)
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """A service of this module's own, to be killed. Every test leaves it running."""
    with running_service({"TUNESMITH_API_PROCESSES": request.param}) as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[openai.OpenAI]:
    with service.client() as client:
        yield client


@pytest.fixture(scope="module")
def model(service: Service, client: openai.OpenAI) -> str:
    """A fine-tuned model, made quickly."""
    job = wait_until_ended(service, client, create_job(client, small_file(10), n_epochs=1, batch_size=5))
    assert job.fine_tuned_model is not None
    return job.fine_tuned_model


def test_a_job_survives_the_death_of_each_part(service: Service, client: openai.OpenAI) -> None:
    job = make_job(client)
    step = 0
    for role in ("worker", "api", "trainer", "engine"):
        step = wait_for_step(service, client, job, beyond=step)
        trainers = service.processes("trainer")
        killed = service.kill(role)
        service.wait_for(lambda killed=killed: not killed.is_alive(), f"the {role} to be dead")
        service.wait_for(lambda role=role: service.processes(role), f"another {role}")
        if role != "trainer":
            assert service.processes("trainer") == trainers  # none of the others' deaths is its own
    service.wait_until_ready()
    assert_ended_whole(service, client, job)


def test_a_job_survives_the_death_of_the_whole_service(service: Service, client: openai.OpenAI) -> None:
    """Ctrl-C, the death of the parent alone, and of every process; each time everything ends, and goes on later."""
    job = make_job(client)
    step = 0
    for end in (service.interrupt, service.kill_parent, service.kill_tree):
        step = wait_for_step(service, client, job, beyond=step)
        end()
        service.assert_no_orphans()
        service.start()
        assert client.fine_tuning.jobs.retrieve(job.id).status in ("queued", "running")
    assert_ended_whole(service, client, job)


@pytest.mark.parametrize("role", ["engine", "api", "tree"])
def test_a_stream_that_is_cut_ends_with_an_error_and_the_model_answers_again(
    service: Service, client: openai.OpenAI, model: str, role: str
) -> None:
    before = ask(client, model, TASK.held_out[0])
    chunks = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Hello"}],
        stream=True,
        max_tokens=900,
        logit_bias={END_OF_TURN: -100},  # so that it goes on
    )
    next(chunks)
    if role == "tree":
        service.kill_tree()
    else:
        service.kill_all(role)
    with pytest.raises((openai.APIError, httpx2.TransportError)):
        for _ in chunks:
            pass
    chunks.close()
    if role == "tree":
        service.assert_no_orphans()
        service.start()
    service.wait_until_ready()
    assert ask(client, model, TASK.held_out[0]) == before


def test_an_upload_that_is_cut_leaves_no_file(service: Service, client: openai.OpenAI) -> None:
    def body() -> Iterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="cut.jsonl"\r\n\r\n'
        yield b"x" * 1024**2
        service.kill_all("api")
        yield b"x" * 1024**2

    headers = {"authorization": f"Bearer {client.api_key}", "content-type": "multipart/form-data; boundary=b"}
    with pytest.raises(httpx2.TransportError):
        httpx2.post(f"{service.base_url}/files", content=body(), headers=headers)
    service.wait_until_ready()
    assert "cut.jsonl" not in {file.filename for file in client.files.list()}
    assert upload(client, small_file(10))


def make_job(client: openai.OpenAI) -> FineTuningJob:
    """One that trains for about 25 s, in steps of 0.05 s, on a choice of examples that every attempt must find."""
    data = {"pilot": 70, "holdout": 0.1, "mix_in": [{"file": upload(client, small_file(20)), "ratio": 0.25}]}
    return create_job(client, small_file(80), n_epochs=6, batch_size=1, extra_body={"data": data})


def assert_ended_whole(service: Service, client: openai.OpenAI, job: FineTuningJob) -> None:
    """The job has succeeded, as if nothing had happened to it."""
    ended = wait_until_ended(service, client, job)
    assert (ended.status, ended.error) == ("succeeded", None), service.logs()
    metrics = metrics_of(client, job.id)
    assert [data["step"] for data in metrics] == list(range(1, metrics[-1]["total_steps"] + 1))
    messages = [event.message for event in events_of(client, job.id)]
    for once in ("Files validated, moving job to queued state", "Fine-tuning job started"):
        assert messages.count(once) == 1
    assert messages[-1] == "The job has successfully completed"
    assert len(set(messages)) == len(messages)
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert len({checkpoint.step_number for checkpoint in checkpoints}) == len(checkpoints)
    assert len(checkpoints) in (3, 4)  # the last three, and the best
    for checkpoint in checkpoints:
        ask(client, checkpoint.fine_tuned_model_checkpoint, TASK.held_out[0])
    assert ended.fine_tuned_model == checkpoints[0].fine_tuned_model_checkpoint
    (result_file,) = ended.result_files
    assert len(client.files.content(result_file).text.splitlines()) == len(metrics) + 1
    assert {file.status for file in client.files.list()} == {"processed"}
    service.wait_for(lambda: not service.processes("trainer"), "the trainer to be gone")
    service.wait_for(lambda: not half_written_files(service.home), "half-written files to be gone")
