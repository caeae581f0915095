"""What no client of good will sends: an answer in the envelope, never a fault, and nothing told to strangers."""

import gzip
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from server.vocabulary import JobStatus
from tests.factories import make_file, make_job
from tests.running_api import Api

JOBS = "/v1/fine_tuning/jobs"
BODY = '{"model": "gpt-4o-mini", "training_file": "FILE", %s}'
NOT_JSON: dict[str, bytes] = {
    "half a character": (BODY % r'"suffix": "\ud800"').encode(),
    "half a character as a name": (BODY % r'"\ud800": 1').encode(),
    "half a character for an id": rb'{"model": "gpt-4o-mini", "training_file": "\ud800"}',
    "NaN": (BODY % '"hyperparameters": {"learning_rate_multiplier": NaN}').encode(),
    "a number beyond every number": (BODY % ('"seed": 1' + "0" * 5000)).encode(),
    "depths": (BODY % ('"method": ' + "[" * 2000 + "]" * 2000)).encode(),
    "invalid UTF-8": b'{"model": "\xff"}',
    "another encoding": '{"model": "x"}'.encode("utf-16"),
    "compressed": gzip.compress(b"{}"),
    "cut off": b'{"model": ',
    "a form": b"model=gpt-4o-mini",
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_a_body_that_is_no_strict_json_is_refused(http: httpx.Client, name: str) -> None:
    answer = http.post(JOBS, content=NOT_JSON[name])

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("We could not parse the JSON body of your request.")


@pytest.mark.parametrize("body", [b"{", b"{}", b"", b" " * 2_000_000, b"\xff"])
def test_nobody_without_a_key_is_told_what_is_wrong_with_a_body(api: Api, body: bytes) -> None:
    answer = httpx.post(f"{api.url}/fine_tuning/jobs", content=body)

    assert answer.status_code == 401
    assert answer.json()["error"]["message"].startswith("You didn't provide an API key.")


@pytest.mark.parametrize("depth", [100, 300, 900])
def test_a_deep_body_is_a_job_or_refused(api: Api, http: httpx.Client, depth: int) -> None:
    deep = BODY % f'"method": {{"type": "supervised", "reinforcement": {"[" * depth + "]" * depth}}}'
    answer = http.post(JOBS, content=deep.replace("FILE", make_file(api.services, api.project_id).id))

    assert answer.status_code in (200, 400), answer.text


def test_text_may_hold_every_whole_character(api: Api, http: httpx.Client) -> None:
    text = "\U0001f600 ' \" [ ] % \u2028 \x7f \\"
    body = {"model": "gpt-4o-mini", "training_file": make_file(api.services, api.project_id).id}
    metadata = {text: text, "nothing": "\x00"}
    created = http.post(JOBS, json=body | {"metadata": metadata})

    assert created.json()["metadata"] == metadata
    found = http.get(JOBS, params={f"metadata[{text}]": text, "limit": 1}).json()["data"]
    assert [job["id"] for job in found] == [created.json()["id"]]


def test_the_last_of_two_equal_names_counts(api: Api, http: httpx.Client) -> None:
    body = (BODY % '"seed": 1, "seed": 2').replace("FILE", make_file(api.services, api.project_id).id)

    assert http.post(JOBS, content=body).json()["seed"] == 2


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"junk{", b"\xff", b"[1]"])
def test_a_body_where_none_is_wanted_is_not_looked_at(api: Api, http: httpx.Client, body: bytes) -> None:
    job = make_job(api.services, api.project_id, status=JobStatus.QUEUED)

    for action, status in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        answer = http.post(f"{JOBS}/{job.id}/{action}", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["status"]) == (200, status)


@pytest.mark.parametrize("query", ["limit=0", "unknown=1", "a[]=x&b%5B%5D=y", "%00=%FF", "limit[]=x", "metadata[]=x"])
@pytest.mark.parametrize("path", ["/v1/files", JOBS, "/v1/models"])
def test_a_query_nobody_asked_for_is_no_error(http: httpx.Client, path: str, query: str) -> None:
    assert http.get(f"{path}?{query}").status_code == 200


@pytest.mark.parametrize("query", ["limit=", "limit=1e3", "limit=" + "9" * 40, "after=", "after=%00", "after=%FF"])
@pytest.mark.parametrize("path", ["/v1/files", JOBS])
def test_a_query_that_cannot_be_is_refused(http: httpx.Client, path: str, query: str) -> None:
    answer = http.get(f"{path}?{query}")

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, query.split("=")[0])


@pytest.mark.parametrize(
    "name", ["x" * 10_000, "%00", "%FF", "%ED%A0%80", "%27%3B--", "..%2F..%2Fetc", "%E2%80%A8", "file-%20"]
)
@pytest.mark.parametrize("path", ["/v1/files/{}", "/v1/files/{}/content", f"{JOBS}/{{}}/events", "/v1/models/{}"])
def test_an_id_that_cannot_be_is_unknown(api: Api, path: str, name: str) -> None:
    status, headers, body = raw(api, f"GET {path.format(name)}".encode())

    assert status == 404
    assert b"x-request-id" in headers
    assert len(body) < 3000


@pytest.mark.parametrize(
    "header",
    [
        b"idempotency-key: \xff",
        b"x-stainless-retry-count: \xb2",
        b"x-stainless-retry-count: -1",
        b"x-stainless-retry-count: 99999999999999999999",
        b"openai-organization: \xff\xfe",
        b"openai-project: \xff",
        b"content-type: \xff",
        b"content-encoding: gzip",
        b"accept: nothing/at-all",
    ],
)
def test_an_odd_header_is_no_fault(api: Api, header: bytes) -> None:
    status, _, body = raw(api, b"POST " + JOBS.encode(), header, body=b"{}")

    assert status == 400
    assert b"Missing required parameter: 'model'." in body


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/v1/files", f"{JOBS}/x", "/v1/chat/completions"])
def test_a_method_that_is_not_served_is_said_so(http: httpx.Client, path: str, method: str) -> None:
    answer = http.request(method, path)

    assert answer.status_code == 405
    assert answer.headers["allow"]
    assert answer.json()["error"]["type"] == "invalid_request_error"


def raw(api: Api, request: bytes, *headers: bytes, body: bytes = b"") -> tuple[int, bytes, bytes]:
    """Status, head and body of a request that no client library would send."""
    address = urlsplit(api.url)
    lines = [
        request + b" HTTP/1.1",
        b"host: x",
        b"connection: close",
        b"authorization: Bearer " + api.key.encode(),
        b"content-length: %d" % len(body),
        *headers,
    ]
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=30) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        with connection.makefile("rb") as stream:
            head, _, content = stream.read().partition(b"\r\n\r\n")
    return int(head.split()[1]), head, content
