"""OpenAI's own errors, word for word: programs compare the status, the type, the code, the param and the message."""

from typing import Any

import httpx
import pytest

from server.vocabulary import FilePurpose, JobStatus
from tests.factories import make_file, make_job
from tests.running_api import Api

JOBS = "/v1/fine_tuning/jobs"
NO_FILE = (404, None, "id", "No such File object: file-x")
NO_JOB = (404, "fine_tune_not_found", "fine_tune_id", "Could not find fine tune: 123")
NO_MODEL = (404, "model_not_found", "model", "The model 'ft:123' does not exist")
Expected = tuple[int, str | None, str | None, str]

# method, path, body, (status, code, param, message); FILE and the like stand for ids of what the test has made
ROWS: dict[str, tuple[str, str, dict[str, Any] | None, Expected]] = {
    "an unknown route": ("GET", "/v1/files/", None, (404, None, None, "Invalid URL (GET /v1/files/)")),
    "a missing field": (
        "POST",
        JOBS,
        {"training_file": "FILE"},
        (400, "missing_required_parameter", "model", "Missing required parameter: 'model'."),
    ),
    "a wrong type": (
        "POST",
        JOBS,
        {"model": "gpt-4o-mini", "training_file": "FILE", "metadata": {"modified": True}},
        (
            400,
            "invalid_type",
            "metadata.modified",
            "Invalid type for 'metadata.modified': expected a string, but got a boolean instead.",
        ),
    ),
    "a number out of bounds": (
        "POST",
        JOBS,
        {"model": "gpt-4o-mini", "training_file": "FILE", "hyperparameters": {"n_epochs": 51}},
        (
            400,
            "integer_above_max_value",
            "hyperparameters.n_epochs",
            "Invalid 'hyperparameters.n_epochs': integer above maximum value. "
            "Expected a value <= 50, but got 51 instead.",
        ),
    ),
    "an unknown file": ("GET", "/v1/files/file-x", None, NO_FILE),
    "an unknown file to delete": ("DELETE", "/v1/files/file-x", None, NO_FILE),
    "an unknown file's content": ("GET", "/v1/files/file-x/content", None, NO_FILE),
    "a file that is not given out": (
        "GET",
        "/v1/files/ASSISTANTS/content",
        None,
        (400, None, None, "Not allowed to download files of purpose: assistants"),
    ),
    "an unknown job": ("GET", f"{JOBS}/123", None, NO_JOB),
    "an unknown job to cancel": ("POST", f"{JOBS}/123/cancel", None, NO_JOB),
    "an unknown job to pause": ("POST", f"{JOBS}/123/pause", None, NO_JOB),
    "an unknown job to resume": ("POST", f"{JOBS}/123/resume", None, NO_JOB),
    "an unknown job's events": ("GET", f"{JOBS}/123/events", None, NO_JOB),
    "an unknown job's checkpoints": ("GET", f"{JOBS}/123/checkpoints", None, NO_JOB),
    "an unknown training file": (
        "POST",
        JOBS,
        {"model": "gpt-4o-mini", "training_file": "file-x"},
        (400, None, "training_file", "invalid training_file: file-x"),
    ),
    "a model that cannot be trained": (
        "POST",
        JOBS,
        {"model": "gpt-9", "training_file": "FILE"},
        (
            400,
            "model_not_available",
            "model",
            "Model gpt-9 is not available for fine-tuning or does not exist.",
        ),
    ),
    "a job that has ended": (
        "POST",
        f"{JOBS}/ENDED/cancel",
        None,
        (400, None, None, 'Cannot cancel a job ENDED that already has status "succeeded".'),
    ),
    "an unknown model": ("GET", "/v1/models/ft:123", None, NO_MODEL),
    "an unknown model to delete": ("DELETE", "/v1/models/ft:123", None, NO_MODEL),
    "an unknown model to chat with": (
        "POST",
        "/v1/chat/completions",
        {"model": "x", "messages": [{"role": "user", "content": "Hello"}]},
        (404, "model_not_found", "model", "The model 'x' does not exist or you do not have access to it."),
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_an_error_is_openais(api: Api, http: httpx.Client, name: str) -> None:
    method, path, body, (status, code, param, message) = ROWS[name]
    ids = {
        "FILE": make_file(api.services, api.project_id).id,
        "ASSISTANTS": make_file(api.services, api.project_id, purpose=FilePurpose.ASSISTANTS).id,
        "ENDED": make_job(api.services, api.project_id, status=JobStatus.SUCCEEDED).id,
    }
    for word, value in ids.items():
        path, message = path.replace(word, value), message.replace(word, value)
        body = body and {key: value if given == word else given for key, given in body.items()}

    answer = http.request(method, path, json=body)

    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    assert (answer.status_code, answer.json()) == (status, {"error": error})


@pytest.mark.parametrize(
    ("headers", "code", "begins"),
    [
        (
            {},
            None,
            "You didn't provide an API key. You need to provide your API key in an Authorization header using "
            "Bearer auth (i.e. Authorization: Bearer YOUR_KEY)",
        ),
        (
            {"authorization": "Bearer sk-wrong-key-of-mine"},
            "invalid_api_key",
            "Incorrect API key provided: sk-wr***ne.",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/v1/files", "/v1/models/x", "/v1/chat/completions"])
def test_a_key_that_opens_nothing_is_told_in_openais_words(
    api: Api, path: str, headers: dict[str, str], code: str | None, begins: str
) -> None:
    """Where to find a key is said after that, in ours."""
    method = "POST" if "chat" in path else "GET"
    answer = httpx.request(method, api.url.removesuffix("/v1") + path, headers=headers)

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (401, "invalid_request_error", None)
    assert error["code"] == code
    assert error["message"].startswith(begins)
