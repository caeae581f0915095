"""Every answer that is no success is OpenAI's envelope, and every answer carries OpenAI's headers."""

import asyncio
import logging
import re
from typing import Any

import httpx
import openai
import orjson
import pytest
from starlette.types import Message, Receive, Scope, Send

from server import errors
from server.idempotency.running import KeyInUse
from server.request_ids import RequestIds
from tests.factories import make_file
from tests.running_api import Api


def envelope(message: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v1/nothing", 404, "Invalid URL (GET /v1/nothing)"),
        ("GET", "/", 404, "Invalid URL (GET /)"),
        ("GET", "/v1/files/", 404, "Invalid URL (GET /v1/files/)"),
        ("GET", "/v1/files/a/b/c", 404, "Invalid URL (GET /v1/files/a/b/c)"),
        ("GET", "/v1/models/", 404, "Invalid URL (GET /v1/models/)"),
        ("DELETE", "/v1/models/", 404, "Invalid URL (DELETE /v1/models/)"),
        ("GET", "/docs", 404, "Invalid URL (GET /docs)"),
        ("GET", "/openapi.json", 404, "Invalid URL (GET /openapi.json)"),
        ("PUT", "/v1/files", 405, "Not allowed to PUT on /v1/files."),
        ("OPTIONS", "/v1/models", 405, "Not allowed to OPTIONS on /v1/models."),
    ],
)
def test_what_is_not_served_is_said_in_the_envelope(
    http: httpx.Client, method: str, path: str, status: int, message: str
) -> None:
    answer = http.request(method, path)

    assert (answer.status_code, answer.json()) == (status, envelope(message))


@pytest.mark.parametrize(
    "path", ["/v1/files/../../etc/passwd", "//v1/files", "/v1//files", "/v1/files/%2e%2e/x", "/%00"]
)
def test_odd_paths_lead_nowhere(api: Api, path: str) -> None:
    with httpx.Client() as client:
        answer = client.get(httpx.URL(api.url).copy_with(raw_path=path.encode()))

    assert answer.status_code in (401, 404)


@pytest.mark.parametrize("body", [b"{", b"not JSON", b"\xff{}", b"[" * 100_000, b'{"model": }'])
def test_a_body_that_cannot_be_parsed_is_said_so(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/v1/fine_tuning/jobs", content=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("We could not parse the JSON body of your request.")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[1]", "Invalid type for the request body: expected an object, but got an array instead."),
        (b'"x"', "Invalid type for the request body: expected an object, but got a string instead."),
        (b"", "Missing request body: a JSON object is expected."),
        (b"{}", "Missing required parameter: 'model'."),
    ],
)
def test_a_body_of_the_wrong_kind_is_said_so(http: httpx.Client, body: bytes, message: str) -> None:
    answer = http.post("/v1/fine_tuning/jobs", content=body)

    assert (answer.status_code, answer.json()["error"]["message"]) == (400, message)


def test_the_content_type_of_a_json_body_does_not_matter(http: httpx.Client) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"):
        answer = http.post("/v1/fine_tuning/jobs", content=b"{}", headers={"content-type": content_type})
        assert answer.json()["error"]["code"] == "missing_required_parameter"


@pytest.mark.parametrize("declares_length", [True, False])
def test_a_body_that_is_too_large_is_refused(http: httpx.Client, declares_length: bool) -> None:
    body = b" " * 2_000_000
    answer = http.post("/v1/fine_tuning/jobs", content=body if declares_length else iter([body]))

    assert (answer.status_code, answer.json()) == (413, envelope("The body of your request is too large."))


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/v1/nothing", "/v1/chat/completions"])
def test_every_answer_carries_openais_headers(api: Api, path: str) -> None:
    with api.http("wrong") as client:
        answer = client.get(path)

    assert_openais_headers(answer, organization="personal")
    assert answer.headers["content-type"] == "application/json"


def test_streams_carry_openais_headers(api: Api, http: httpx.Client) -> None:
    question = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}], "stream": True}

    assert_openais_headers(http.post("/v1/chat/completions", json=question), organization="mine")
    file_id = make_file(api.services, api.project_id).id
    assert_openais_headers(http.get(f"/v1/files/{file_id}/content"), organization="mine")


def assert_openais_headers(answer: httpx.Response, *, organization: str) -> None:
    assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"])
    assert answer.headers["openai-processing-ms"].isdigit()
    assert answer.headers["openai-version"] == "2020-10-01"
    assert answer.headers["openai-organization"] == organization


def test_the_organization_is_the_callers(http: httpx.Client) -> None:
    assert http.get("/v1/models").headers["openai-organization"] == "mine"


def test_two_requests_have_two_ids(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as first:
        client.files.retrieve("file-x")
    with pytest.raises(openai.NotFoundError) as second:
        client.files.retrieve("file-x")
    assert first.value.request_id != second.value.request_id


def test_head_is_answered_like_get_without_a_body(http: httpx.Client) -> None:
    answer = http.head("/v1/models")

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/json"


def test_an_unexpected_fault_tells_the_client_its_id_and_the_log_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("a secret of ours")

    with caplog.at_level(logging.ERROR, "tunesmith.api"):
        start, body = asyncio.run(_call(broken))

    assert start["status"] == 500
    request_id = dict(start["headers"])[b"x-request-id"].decode()
    error = orjson.loads(body["body"])["error"]
    assert (error["type"], error["code"], error["param"]) == ("server_error", None, None)
    assert request_id in error["message"]
    assert "secret" not in error["message"]
    assert request_id in caplog.text


def test_a_fault_in_the_middle_of_an_answer_is_never_a_clean_end() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError

    with pytest.raises(RuntimeError):
        asyncio.run(_call(broken))


@pytest.mark.parametrize(
    ("error", "should_retry"),
    [
        (errors.InvalidRequest, None),
        (errors.Conflict, "false"),
        (KeyInUse, "true"),
        (errors.TooManyRequests, None),
        (errors.ServerFault, None),
        (errors.ModelNotServable, "false"),
        (errors.EngineUnavailable, None),
        (errors.InsufficientStorage, "false"),
    ],
)
def test_clients_are_told_not_to_repeat_what_repeating_does_not_cure(
    error: type[errors.ApiError], should_retry: str | None
) -> None:
    """They would repeat every 409, 429 and 5xx."""
    assert error("x").headers().get("x-should-retry") == should_retry


def test_what_a_client_made_up_is_shown_in_part_and_in_whole_characters() -> None:
    shown = errors.NotFound("x" * 10_000 + "\ud800", param="\udfff")

    assert len(shown.message) == 2001
    assert shown.param == "?"


async def _call(app: Any) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    await RequestIds(app, organization="personal")(scope, receive, send)
    return sent
