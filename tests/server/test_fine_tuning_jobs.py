from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from server.db.project_session import project_session
from server.db.tables import JobRow
from server.vocabulary import FilePurpose, JobStatus
from tests.factories import make_checkpoint, make_file, make_job
from tests.running_api import Api

BASE = "gpt-4o-mini-2024-07-18"


@pytest.fixture
def training_file(api: Api) -> str:
    return make_file(api.services, api.project_id).id


def test_a_job_begins_by_validating_its_files(client: openai.OpenAI, training_file: str) -> None:
    job = client.fine_tuning.jobs.create(model=BASE, training_file=training_file)

    assert job.id.startswith("ftjob-")
    assert len(job.id) == len("ftjob-") + 24
    assert (job.status, job.model, job.training_file) == ("validating_files", BASE, training_file)
    assert client.fine_tuning.jobs.retrieve(job.id) == job
    events = client.fine_tuning.jobs.list_events(job.id).data
    assert [(event.message, event.level, event.type, event.data) for event in events] == [
        (f"Created fine-tuning job: {job.id}", "info", "message", {})
    ]


def test_a_job_object_has_every_key_from_the_start(http: httpx.Client, training_file: str) -> None:
    job = http.post("/v1/fine_tuning/jobs", json={"model": BASE, "training_file": training_file}).json()

    auto = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    given = {name: job.pop(name) for name in ("id", "created_at", "organization_id", "seed")}
    assert given["organization_id"].startswith("org-")
    assert 0 <= given["seed"] < 2**31
    assert job == {
        "object": "fine_tuning.job",
        "model": BASE,
        "training_file": training_file,
        "validation_file": None,
        "status": "validating_files",
        "hyperparameters": auto,
        "method": {"type": "supervised", "supervised": {"hyperparameters": auto}},
        "error": None,
        "fine_tuned_model": None,
        "finished_at": None,
        "estimated_finish": None,
        "trained_tokens": None,
        "result_files": [],
        "integrations": [],
        "metadata": None,
        "user_provided_suffix": None,
        "usage_metrics": None,
        "shared_with_openai": False,
        "eval_id": None,
    }


def test_what_a_job_was_asked_for_is_echoed(api: Api, client: openai.OpenAI, training_file: str) -> None:
    validation_file = make_file(api.services, api.project_id).id
    job = client.fine_tuning.jobs.create(
        model="tunesmith-demo",
        training_file=training_file,
        validation_file=validation_file,
        suffix="My Model!",
        seed=7,
        metadata={"team": "blue"},
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 0.5}},
        },
    )

    assert (job.model, job.validation_file, job.seed, job.metadata) == (
        "tunesmith-demo",
        validation_file,
        7,
        {"team": "blue"},
    )
    assert job.hyperparameters.model_dump() == {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 0.5}
    assert job.user_provided_suffix == "My Model!"  # type: ignore[attr-defined]
    with project_session(api.database, api.project_id) as session:
        assert session.get_one(JobRow, job.id).suffix == "my-model-"


ACCEPTED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nulls": (
        {"suffix": None, "seed": None, "validation_file": None, "metadata": None, "method": None, "integrations": None},
        {},
    ),
    "deprecated hyperparameters": ({"hyperparameters": {"n_epochs": 2}}, {"n_epochs": 2}),
    "both, and the method wins": (
        {
            "hyperparameters": {"n_epochs": 2},
            "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 5}}},
        },
        {"n_epochs": 5},
    ),
    "the parts of other methods": (
        {
            "method": {
                "type": "supervised",
                "dpo": {"hyperparameters": {"beta": "auto"}},
                "reinforcement": {"grader": {"type": "string_check"}},
            }
        },
        {},
    ),
    "a method alone": ({"method": {"type": "supervised"}, "hyperparameters": {"batch_size": 2}}, {"batch_size": 2}),
    "a whole number as a multiplier": (
        {"hyperparameters": {"learning_rate_multiplier": 2}},
        {"learning_rate_multiplier": 2.0},
    ),
    "bounds": (
        {"hyperparameters": {"n_epochs": 50, "batch_size": 256}, "seed": 2**31 - 1},
        {"n_epochs": 50, "batch_size": 256},
    ),
    "no integrations": ({"integrations": []}, {}),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_every_form_of_a_request_is_understood(http: httpx.Client, training_file: str, name: str) -> None:
    extra, expected = ACCEPTED[name]
    answer = http.post("/v1/fine_tuning/jobs", json={"model": BASE, "training_file": training_file, **extra})

    assert answer.status_code == 200, answer.text
    auto = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    assert answer.json()["hyperparameters"] == auto | expected
    assert answer.json()["method"]["supervised"]["hyperparameters"] == auto | expected


def test_patience_is_kept_and_the_job_shows_openais_three(api: Api, client: openai.OpenAI, training_file: str) -> None:
    asked = {"n_epochs": 3, "early_stopping_patience": 2}
    job = client.fine_tuning.jobs.create(
        model=BASE,
        training_file=training_file,
        validation_file=training_file,
        method={"type": "supervised", "supervised": {"hyperparameters": asked}},  # type: ignore[typeddict-item]
    )
    shown = {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": "auto"}
    assert job.hyperparameters.model_dump() == shown
    with project_session(api.database, api.project_id) as session:
        row = session.get_one(JobRow, job.id)
        assert row.requested_hyperparameters == shown | asked


REFUSED: dict[str, tuple[dict[str, Any], str, str, str | None]] = {
    "model null": (
        {"model": None},
        "Invalid type for 'model': expected a string, but got null instead.",
        "model",
        "invalid_type",
    ),
    "unknown model": (
        {"model": "gpt-9"},
        "Model gpt-9 is not available for fine-tuning or does not exist.",
        "model",
        "model_not_available",
    ),
    "an unknown fine-tuned model": (
        {"model": "ft:tunesmith-demo:personal::Ajo5kvNY"},
        "Model ft:tunesmith-demo:personal::Ajo5kvNY is not available for fine-tuning or does not exist.",
        "model",
        "model_not_available",
    ),
    "unknown training file": ({"training_file": "file-x"}, "invalid training_file: file-x", "training_file", None),
    "unknown validation file": (
        {"validation_file": "file-x"},
        "invalid validation_file: file-x",
        "validation_file",
        None,
    ),
    "a long suffix": (
        {"suffix": "x" * 65},
        "Invalid 'suffix': string too long. Expected a string with maximum length 64, "
        "but got a string with length 65 instead.",
        "suffix",
        "string_above_max_length",
    ),
    "an empty suffix": (
        {"suffix": ""},
        "Invalid 'suffix': empty string. Expected a string with minimum length 1, "
        "but got a string with length 0 instead.",
        "suffix",
        "empty_string",
    ),
    "a suffix of which nothing remains": (
        {"suffix": "!!!"},
        "Invalid 'suffix': it must hold at least one letter a-z or digit 0-9.",
        "suffix",
        "invalid_value",
    ),
    "a seed in words": (
        {"seed": "7"},
        "Invalid type for 'seed': expected an integer, but got a string instead.",
        "seed",
        "invalid_type",
    ),
    "a true seed": (
        {"seed": True},
        "Invalid type for 'seed': expected an integer, but got a boolean instead.",
        "seed",
        "invalid_type",
    ),
    "a large seed": (
        {"seed": 2**31},
        "Invalid 'seed': integer above maximum value. Expected a value <= 2147483647, but got 2147483648 instead.",
        "seed",
        "integer_above_max_value",
    ),
    "too many epochs": (
        {"hyperparameters": {"n_epochs": 51}},
        "Invalid 'hyperparameters.n_epochs': integer above maximum value. Expected a value <= 50, but got 51 instead.",
        "hyperparameters.n_epochs",
        "integer_above_max_value",
    ),
    "no batch": (
        {"hyperparameters": {"batch_size": 0}},
        "Invalid 'hyperparameters.batch_size': integer below minimum value. Expected a value >= 1, but got 0 instead.",
        "hyperparameters.batch_size",
        "integer_below_min_value",
    ),
    "no learning": (
        {"hyperparameters": {"learning_rate_multiplier": 0}},
        "Invalid 'hyperparameters.learning_rate_multiplier': decimal below minimum value. "
        "Expected a value > 0, but got 0 instead.",
        "hyperparameters.learning_rate_multiplier",
        "decimal_below_min_value",
    ),
    "an automatic misspelt": (
        {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "automatic"}}}},
        "Invalid type for 'method.supervised.hyperparameters.n_epochs': expected an integer or 'auto', "
        "but got a string instead.",
        "method.supervised.hyperparameters.n_epochs",
        "invalid_type",
    ),
    "an unknown hyperparameter": (
        {"hyperparameters": {"beta": 1}},
        "Unknown parameter: 'hyperparameters.beta'.",
        "hyperparameters.beta",
        "unknown_parameter",
    ),
    "patience without a validation file": (
        {"method": {"type": "supervised", "supervised": {"hyperparameters": {"early_stopping_patience": 2}}}},
        "'early_stopping_patience' counts evaluations of the validation file. Add a 'validation_file' or "
        "'data.holdout', or leave 'early_stopping_patience' out.",
        "validation_file",
        "missing_required_parameter",
    ),
    "no patience at all": (
        {"method": {"type": "supervised", "supervised": {"hyperparameters": {"early_stopping_patience": 0}}}},
        "Invalid 'method.supervised.hyperparameters.early_stopping_patience': integer below minimum value. "
        "Expected a value >= 1, but got 0 instead.",
        "method.supervised.hyperparameters.early_stopping_patience",
        "integer_below_min_value",
    ),
    "more patience than epochs can be": (
        {"method": {"type": "supervised", "supervised": {"hyperparameters": {"early_stopping_patience": 51}}}},
        "Invalid 'method.supervised.hyperparameters.early_stopping_patience': integer above maximum value. "
        "Expected a value <= 50, but got 51 instead.",
        "method.supervised.hyperparameters.early_stopping_patience",
        "integer_above_max_value",
    ),
    "patience that is no number": (
        {"method": {"type": "supervised", "supervised": {"hyperparameters": {"early_stopping_patience": True}}}},
        "Invalid type for 'method.supervised.hyperparameters.early_stopping_patience': expected an integer or 'auto', "
        "but got a boolean instead.",
        "method.supervised.hyperparameters.early_stopping_patience",
        "invalid_type",
    ),
    "patience in the place that is deprecated": (
        {"hyperparameters": {"early_stopping_patience": 2}},
        "Unknown parameter: 'hyperparameters.early_stopping_patience'.",
        "hyperparameters.early_stopping_patience",
        "unknown_parameter",
    ),
    "an unknown field": ({"n_epochs": 3}, "Unknown parameter: 'n_epochs'.", "n_epochs", "unknown_parameter"),
    "an unknown method": (
        {"method": {"type": "magic"}},
        "Invalid value: 'magic'. Supported values are: 'supervised', 'dpo', 'reinforcement', 'orpo', 'kto', 'simpo' or "
        "'continued_pretraining'.",
        "method.type",
        "invalid_value",
    ),
    "reinforcement": (
        {"method": {"type": "reinforcement"}},
        "The method 'reinforcement' is not offered yet. Use 'supervised', 'dpo', 'orpo', 'kto', 'simpo' or "
        "'continued_pretraining'.",
        "method.type",
        "unsupported_value",
    ),
    "a beta above OpenAI's": (
        {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 2.5}}}},
        "Invalid 'method.dpo.hyperparameters.beta': decimal above maximum value. Expected a value <= 2, but got 2.5 "
        "instead.",
        "method.dpo.hyperparameters.beta",
        "decimal_above_max_value",
    ),
    "another method's hyperparameter": (
        {"method": {"type": "orpo", "orpo": {"hyperparameters": {"gamma": 1}}}},
        "Unknown parameter: 'method.orpo.hyperparameters.gamma'.",
        "method.orpo.hyperparameters.gamma",
        "unknown_parameter",
    ),
    "a step of one answer": (
        {"method": {"type": "kto"}, "hyperparameters": {"batch_size": 1}},
        "Invalid 'hyperparameters.batch_size': integer below minimum value. Expected a value >= 2, as 'kto' estimates "
        "over each step how far the model has moved, but got 1 instead.",
        "hyperparameters.batch_size",
        "integer_below_min_value",
    ),
    "an integration": (
        {"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]},
        "The project has no API key of Weights & Biases. The operator sets it with `tunesmith projects wandb-key`; "
        "without it, leave 'integrations' out: the job's events carry all metrics.",
        "integrations",
        "integration_not_enabled",
    ),
    "an integration's project that cannot be one": (
        {"integrations": [{"type": "wandb", "wandb": {"project": "a/b"}}]},
        "Invalid 'integrations[0].wandb.project': string does not match pattern. "
        r"Expected a string that matches the pattern '^[^/\\#?%:]+$'.",
        "integrations[0].wandb.project",
        "invalid_value",
    ),
    "an unknown integration": (
        {"integrations": [{"type": "mlflow", "wandb": {"project": "p"}}]},
        "Invalid value: 'mlflow'. Supported values are: 'wandb'.",
        "integrations[0].type",
        "invalid_value",
    ),
    "an integration without its settings": (
        {"integrations": [{"type": "wandb"}]},
        "Missing required parameter: 'integrations[0].wandb'.",
        "integrations[0].wandb",
        "missing_required_parameter",
    ),
    "much metadata": (
        {"metadata": {str(n): "" for n in range(17)}},
        "Invalid 'metadata': too many entries. Expected at most 16, but got 17 instead.",
        "metadata",
        "above_max_length",
    ),
    "metadata that is no text": (
        {"metadata": {"modified": True}},
        "Invalid type for 'metadata.modified': expected a string, but got a boolean instead.",
        "metadata.modified",
        "invalid_type",
    ),
    "long metadata": (
        {"metadata": {"k": "x" * 513}},
        "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, "
        "but got a string with length 513 instead.",
        "metadata.k",
        "string_above_max_length",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_cannot_be_is_refused_by_name(http: httpx.Client, training_file: str, name: str) -> None:
    extra, message, param, code = REFUSED[name]
    answer = http.post("/v1/fine_tuning/jobs", json={"model": BASE, "training_file": training_file, **extra})

    assert answer.status_code == 400
    expected = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    assert answer.json()["error"] == expected


def test_a_missing_field_is_named(http: httpx.Client) -> None:
    answer = http.post("/v1/fine_tuning/jobs", json={"model": BASE})

    assert answer.json()["error"] == {
        "message": "Missing required parameter: 'training_file'.",
        "type": "invalid_request_error",
        "param": "training_file",
        "code": "missing_required_parameter",
    }


@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_a_file_of_the_wrong_purpose_is_refused(
    api: Api, client: openai.OpenAI, training_file: str, param: str
) -> None:
    other = make_file(api.services, api.project_id, purpose=FilePurpose.ASSISTANTS).id
    files = {"training_file": training_file, param: other}

    with pytest.raises(
        openai.BadRequestError, match=f"{other} has the purpose 'assistants', but 'fine-tune'"
    ) as refused:
        client.fine_tuning.jobs.create(model=BASE, **files)
    assert refused.value.param == param


def test_another_projects_file_is_as_unknown_as_one_that_never_was(stranger: openai.OpenAI, training_file: str) -> None:
    with pytest.raises(openai.BadRequestError, match=f"invalid training_file: {training_file}"):
        stranger.fine_tuning.jobs.create(model=BASE, training_file=training_file)


def test_a_refused_request_leaves_no_job(client: openai.OpenAI, training_file: str) -> None:
    before = client.fine_tuning.jobs.list(limit=1).data
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.create(model=BASE, training_file=training_file, suffix="!!!")
    assert client.fine_tuning.jobs.list(limit=1).data == before


@pytest.mark.parametrize("status", [JobStatus.VALIDATING_FILES, JobStatus.QUEUED, JobStatus.RUNNING])
def test_a_job_that_has_not_ended_is_cancelled_at_once(api: Api, client: openai.OpenAI, status: JobStatus) -> None:
    job = make_job(api.services, api.project_id, status=status, estimated_finish=2_000_000_000)

    cancelled = client.fine_tuning.jobs.cancel(job.id)

    assert (cancelled.status, cancelled.estimated_finish) == ("cancelled", None)
    assert cancelled.finished_at is not None
    assert client.fine_tuning.jobs.list_events(job.id).data[0].message == "The job was cancelled"


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED])
def test_a_job_that_has_ended_cannot_be_cancelled(api: Api, client: openai.OpenAI, status: JobStatus) -> None:
    job = make_job(api.services, api.project_id, status=status)

    message = f'Cannot cancel a job {job.id} that already has status "{status}".'
    with pytest.raises(openai.BadRequestError) as refused:
        client.fine_tuning.jobs.cancel(job.id)
    assert refused.value.body == {
        "message": message,
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_a_cancel_may_have_a_body_of_any_kind(api: Api, http: httpx.Client) -> None:
    for content in (b"", b"{}", b"not JSON"):
        job = make_job(api.services, api.project_id)
        answer = http.post(
            f"/v1/fine_tuning/jobs/{job.id}/cancel", content=content, headers={"content-type": "application/json"}
        )
        assert answer.json()["status"] == "cancelled"


def test_what_a_job_came_to_is_shown(api: Api, client: openai.OpenAI) -> None:
    resolved = {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 1.8}
    done = make_job(
        api.services,
        api.project_id,
        status=JobStatus.SUCCEEDED,
        hyperparameters=resolved,
        fine_tuned_model="ft:x:personal::12345678",
        result_file="file-result",
        trained_tokens=1700,
        finished_at=1_700_000_000,
    )
    failed = make_job(
        api.services,
        api.project_id,
        status=JobStatus.FAILED,
        error_code="invalid_n_examples",
        error_message="Too few.",
        error_param="training_file",
    )

    job = client.fine_tuning.jobs.retrieve(done.id)
    assert job.hyperparameters.model_dump() == resolved
    assert job.method is not None
    assert job.method.supervised is not None
    assert job.method.supervised.hyperparameters is not None
    assert job.method.supervised.hyperparameters.model_dump() == resolved
    assert (job.fine_tuned_model, job.result_files) == ("ft:x:personal::12345678", ["file-result"])
    assert (job.trained_tokens, job.finished_at) == (1700, 1_700_000_000)
    error = client.fine_tuning.jobs.retrieve(failed.id).error
    assert error is not None
    assert (error.code, error.message, error.param) == ("invalid_n_examples", "Too few.", "training_file")


def test_jobs_are_listed_newest_first_and_by_metadata(api: Api, client: openai.OpenAI, http: httpx.Client) -> None:
    key = 'a "quoted" $.key'
    jobs = [
        make_job(api.services, api.project_id, job_metadata={key: "x", "empty": "", "n": str(n)}).id for n in range(3)
    ]
    bare = make_job(api.services, api.project_id).id

    assert client.fine_tuning.jobs.list(limit=1).data[0].id == bare
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={key: "x"})] == jobs[::-1]
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={key: "x"}, limit=1)] == jobs[::-1]
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={key: "x", "n": "1"})] == [jobs[1]]
    assert {job.id for job in client.fine_tuning.jobs.list(metadata={"empty": ""})} == set(jobs)
    assert client.fine_tuning.jobs.list(metadata={key: "y"}).data == []
    without = http.get("/v1/fine_tuning/jobs?metadata=null&limit=100").json()["data"]  # those of other tests among them
    assert bare in [job["id"] for job in without]
    assert not set(jobs) & {job["id"] for job in without}
    assert client.fine_tuning.jobs.list(limit=0).data == []


def test_a_metadata_filter_that_makes_no_sense_is_refused(http: httpx.Client) -> None:
    for query in ("metadata=x", "metadata=null&metadata[k]=v"):
        answer = http.get(f"/v1/fine_tuning/jobs?{query}")
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "metadata"


def test_events_are_listed_newest_first_and_page_by_page(api: Api, client: openai.OpenAI) -> None:
    job = make_job(api.services, api.project_id)
    client.fine_tuning.jobs.cancel(job.id)

    messages = ["The job was cancelled", f"Created fine-tuning job: {job.id}"]
    assert [event.message for event in client.fine_tuning.jobs.list_events(job.id, limit=1)] == messages
    page = client.fine_tuning.jobs.list_events(job.id, limit=1)
    assert (len(page.data), page.has_more) == (1, True)


def test_checkpoints_are_listed_newest_step_first(api: Api, client: openai.OpenAI) -> None:
    job = make_job(api.services, api.project_id)
    rows = {step: make_checkpoint(api.services, job, step, train_loss=0.5, valid_loss=None) for step in (20, 10, 30)}

    page = client.fine_tuning.jobs.checkpoints.list(job.id, limit=2)
    assert [checkpoint.step_number for checkpoint in page.data] == [30, 20]
    assert [checkpoint.step_number for checkpoint in page] == [30, 20, 10]
    newest = page.data[0]
    assert newest.fine_tuned_model_checkpoint == rows[30].model_name
    assert newest.fine_tuning_job_id == job.id
    assert newest.metrics.to_dict() == {"step": 30.0, "train_loss": 0.5}


def test_an_unknown_job_is_named(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.fine_tuning.jobs.retrieve("123")
    assert unknown.value.body == {
        "message": "Could not find fine tune: 123",
        "type": "invalid_request_error",
        "param": "fine_tune_id",
        "code": "fine_tune_not_found",
    }


def test_a_cursor_of_another_list_is_refused(api: Api, client: openai.OpenAI) -> None:
    mine, other = make_job(api.services, api.project_id), make_job(api.services, api.project_id)
    event = client.fine_tuning.jobs.list_events(other.id).data[0].id

    with pytest.raises(openai.BadRequestError, match="there is no object with the id"):
        client.fine_tuning.jobs.list_events(mine.id, after=event)


def test_more_clients_than_threads_may_write_at_once(api: Api, training_file: str) -> None:
    """None may wait for a thread while it holds the database's write lock (docs/decisions/0009)."""

    def create(_: int) -> int:
        with api.http() as http:
            body = {"model": BASE, "training_file": training_file}
            return http.post("/v1/fine_tuning/jobs", json=body, timeout=60).status_code

    with ThreadPoolExecutor(80) as pool:
        assert set(pool.map(create, range(80))) == {200}


@pytest.mark.parametrize(
    ("method", "own"),
    [
        ("dpo", {"beta": 0.5}),
        ("orpo", {"beta": "auto"}),
        ("continued_pretraining", {"max_seq_length": 512}),
        ("simpo", {"beta": 10, "gamma": 3}),
        ("kto", {"beta": 0.1, "desirable_weight": 1.5, "undesirable_weight": "auto"}),
    ],
)
def test_a_job_shows_its_method_and_what_only_that_has(
    api: Api, http: httpx.Client, training_file: str, method: str, own: dict[str, Any]
) -> None:
    part = {"type": method, method: {"hyperparameters": {**own, "n_epochs": 2}}}
    asked = {"model": BASE, "training_file": training_file, "method": part}
    job = http.post("/v1/fine_tuning/jobs", json=asked).json()
    three = {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": "auto"}
    assert job["method"] == {"type": method, method: {"hyperparameters": {**three, **own}}}
    assert job["hyperparameters"] == three
    with project_session(api.database, api.project_id) as session:
        assert session.get_one(JobRow, job["id"]).method == method
