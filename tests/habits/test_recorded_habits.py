"""What well-known clients really do with this API, call by call."""

import csv
import http.client
import io
import json
from urllib.parse import urlsplit

import openai
import pytest

from tests.habits.conftest import Habitat

EXAMPLE = {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day."}]}
TRAINING = (json.dumps(EXAMPLE) + "\n").encode() * 10
SIX_STATUSES = {"validating_files", "queued", "running", "succeeded", "failed", "cancelled"}
PATIENCE = 80


def test_dspy_sends_top_level_hyperparameters_and_polls_one_event(habitat: Habitat) -> None:
    client = habitat.client
    file = client.files.create(file=("data.jsonl", TRAINING), purpose="fine-tune")

    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini-2024-07-18", training_file=file.id, hyperparameters={"n_epochs": 1, "batch_size": 5}
    )
    said: list[str] = []
    for _ in range(PATIENCE):
        if client.fine_tuning.jobs.retrieve(job.id).status in ("succeeded", "failed", "cancelled"):
            break
        assert client.fine_tuning.jobs.retrieve(job.id).status in SIX_STATUSES
        page = client.fine_tuning.jobs.list_events(job.id, limit=1)
        assert len(page.data) == 1
        said.append(page.data[0].message)
        habitat.sleep()

    done = client.fine_tuning.jobs.retrieve(job.id)
    assert done.status == "succeeded"
    assert (done.hyperparameters.n_epochs, done.hyperparameters.batch_size) == (1, 5)
    assert done.fine_tuned_model is not None
    assert len(set(said)) > 2  # the newest is another one as the job goes on


def test_dspy_cancels_and_deletes_its_file(habitat: Habitat) -> None:
    client = habitat.client
    file = client.files.create(file=("data.jsonl", TRAINING), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id, hyperparameters={})

    assert client.fine_tuning.jobs.retrieve(job.id).status in SIX_STATUSES
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    assert client.files.retrieve(file.id).id == file.id
    assert client.files.delete(file.id).deleted


def test_langchain_uploads_a_buffer_and_waits_until_it_is_processed(habitat: Habitat) -> None:
    client = habitat.client
    file = client.files.create(file=io.BytesIO(TRAINING), purpose="fine-tune")

    assert file.filename == "upload"
    assert client.files.retrieve(file.id).status == "processed"

    job = client.fine_tuning.jobs.create(model="gpt-3.5-turbo", training_file=file.id)
    while client.fine_tuning.jobs.retrieve(job.id).status != "succeeded":
        habitat.sleep()
    assert client.models.retrieve(client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model or "")


@pytest.mark.parametrize(
    ("asked", "param", "code"),
    [
        ({"training_file": "file-AAAAAAAAAAAAAAAAAAAAAA"}, "training_file", None),
        ({"model": "gpt-9"}, "model", "model_not_available"),
        ({"surprise": 1}, "surprise", "unknown_parameter"),
    ],
    ids=["file", "model", "parameter"],
)
def test_llamaindex_meets_400_only_for_what_was_asked(
    habitat: Habitat, asked: dict[str, object], param: str, code: str | None
) -> None:
    """It tries a create again for ever, each minute, while that is a 400."""
    file = habitat.client.files.create(file=("data.jsonl", TRAINING), purpose="fine-tune")
    body = {"model": "gpt-4o-mini", "training_file": file.id, **asked}
    with habitat.http() as http_client:
        answer = http_client.post("/fine_tuning/jobs", json=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    if code is not None:
        assert answer.json()["error"]["code"] == code


@pytest.mark.parametrize("content", [b"no json\n", b"{}\n" * 10, TRAINING[:70], b"\xff\xfe\n"], ids=range(4))
def test_llamaindex_meets_no_400_for_what_is_in_a_file(habitat: Habitat, content: bytes) -> None:
    file = habitat.client.files.create(file=("data.jsonl", content), purpose="fine-tune")

    job = habitat.client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id)

    assert job.status == "validating_files"


def test_the_cookbook_reverses_the_events_and_reads_the_result_file(habitat: Habitat) -> None:
    client = habitat.client
    training, validation = (
        client.files.create(file=(name, TRAINING), purpose="fine-tune").id for name in ("a.jsonl", "b.jsonl")
    )
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini-2024-07-18",
        training_file=training,
        validation_file=validation,
        suffix="recipe-ner",
        seed=42,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 5}}},
    )
    while client.fine_tuning.jobs.retrieve(job.id).status != "succeeded":
        habitat.sleep()

    events = client.fine_tuning.jobs.list_events(job.id, limit=100).data
    events.reverse()
    assert events[0].message == f"Created fine-tuning job: {job.id}"
    assert events[-1].message == "The job has successfully completed"
    done = client.fine_tuning.jobs.retrieve(job.id)
    assert ":recipe-ner:" in (done.fine_tuned_model or "")
    rows = list(csv.DictReader(client.files.content(done.result_files[0]).text.splitlines()))
    assert [row["step"] for row in rows] == ["1", "2"]


def test_the_node_example_waits_for_its_file_and_shows_each_event_once(habitat: Habitat) -> None:
    client = habitat.client
    file = client.files.create(file=("data.jsonl", TRAINING), purpose="fine-tune")
    while client.files.retrieve(file.id).status != "processed":
        habitat.sleep()
    few = {"n_epochs": 1, "batch_size": 5}
    job = client.fine_tuning.jobs.create(model="gpt-3.5-turbo", training_file=file.id, hyperparameters=few)
    shown: list[str] = []
    while client.fine_tuning.jobs.retrieve(job.id).status not in ("succeeded", "failed"):
        for event in reversed(client.fine_tuning.jobs.list_events(job.id, limit=100).data):
            if event.id not in shown:
                shown.append(event.id)
        habitat.sleep()

    listed = [event.id for event in client.fine_tuning.jobs.list_events(job.id, limit=100).data]
    assert shown
    assert listed[::-1][: len(shown)] == shown


def test_instructor_lists_the_newest_jobs_and_reads_their_epochs(habitat: Habitat) -> None:
    client = habitat.client
    file = client.files.create(file=("data.jsonl", TRAINING), purpose="fine-tune")
    created = [
        client.fine_tuning.jobs.create(
            model="gpt-4o-mini", training_file=file.id, hyperparameters={"n_epochs": 2, "batch_size": "auto"}
        ).id
        for _ in range(2)
    ]

    listed = client.fine_tuning.jobs.list(limit=5).data

    assert [job.id for job in listed] == created[::-1]
    assert {(job.hyperparameters.n_epochs, job.finished_at, job.fine_tuned_model) for job in listed} == {
        (2, None, None)
    }


def test_weights_and_biases_reads_a_table_of_steps_and_the_training_file(habitat: Habitat) -> None:
    """`wandb openai sync`. It makes a dict of `error` as well, which is null here: see openapi/deviations.yaml."""
    client = habitat.client
    file = client.files.create(file=("data.jsonl", TRAINING), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id, hyperparameters={"n_epochs": 1})
    while client.fine_tuning.jobs.retrieve(job.id).status != "succeeded":
        habitat.sleep()

    done = client.fine_tuning.jobs.list().data[0]
    with pytest.warns(DeprecationWarning, match="content"):
        table = client.files.retrieve_content(done.result_files[0])
    with pytest.warns(DeprecationWarning, match="content"):
        training = client.files.retrieve_content(done.training_file)

    rows = list(csv.DictReader(io.StringIO(table)))
    assert [int(row["step"]) for row in rows] == list(range(1, len(rows) + 1))
    assert float(rows[0]["train_loss"]) > 0
    assert training.encode() == TRAINING
    assert dict(done.hyperparameters)["n_epochs"] == 1


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_older_clients_send_the_slashes_of_a_model_as_they_are(habitat: Habitat, method: str) -> None:
    name = "ft:Qwen/Qwen3-8B:org::12345678"
    address = urlsplit(habitat.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)

    connection.request(method, f"/v1/models/{name}", headers={"Authorization": "Bearer test key"})
    answer = connection.getresponse()
    error = json.loads(answer.read())["error"]
    connection.close()

    assert answer.status == 404
    assert error["message"] == f"The model '{name}' does not exist"


def test_terraform_knows_a_job_that_is_not_there_by_its_code(habitat: Habitat) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        habitat.client.fine_tuning.jobs.retrieve("ftjob-AAAAAAAAAAAAAAAAAAAAAAAA")

    assert missing.value.code == "fine_tune_not_found"


def test_knime_matches_the_code_at_the_end_of_the_error(habitat: Habitat) -> None:
    file = habitat.client.files.create(file=("data.jsonl", TRAINING), purpose="fine-tune")
    with pytest.raises(openai.BadRequestError) as refused:
        habitat.client.fine_tuning.jobs.create(model="gpt-9", training_file=file.id)

    error = refused.value.response.json()["error"]
    assert list(error)[-1] == "code"
    assert error["code"] == "model_not_available"
