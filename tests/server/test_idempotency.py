"""A request has its effect once: retries as the official clients send them, and Stripe's `Idempotency-Key`."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest
from sqlmodel import col, select

from server.auth.api_keys import create_key
from server.db.project_session import project_session
from server.db.system_session import system_session
from server.db.tables import JobRow, RememberedRequestRow
from server.ids import random_base62
from server.sweeper import Sweeper
from server.vocabulary import JobStatus
from tests.factories import make_file, make_job, make_model
from tests.running_api import Api

JOBS = "/v1/fine_tuning/jobs"
CONTENT = b'{"messages": []}\n'


def sent(count: int) -> dict[str, str]:
    return {"x-stainless-retry-count": str(count)}


def keyed(key: str) -> dict[str, str]:
    return {"idempotency-key": key}


@pytest.fixture
def body(api: Api) -> dict[str, Any]:
    """Of a job nobody else asks for."""
    return {"model": "gpt-4o-mini", "training_file": make_file(api.services, api.project_id).id, "suffix": "once"}


def create(http: httpx.Client, body: dict[str, Any], headers: dict[str, str]) -> str:
    answer = http.post(JOBS, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def jobs_of(api: Api, body: dict[str, Any]) -> list[str]:
    with system_session(api.database) as session:
        return list(session.exec(select(JobRow.id).where(JobRow.training_file == body["training_file"])))


def upload(http: httpx.Client, content: bytes, headers: dict[str, str], **fields: str) -> httpx.Response:
    """Each time with a boundary of its own, as clients do."""
    form = {"purpose": "fine-tune", **fields}
    return http.post("/v1/files", data=form, files={"file": ("train.jsonl", content)}, headers=headers)


def stored(api: Api) -> set[str]:
    return {path.name for path in api.services.settings.blobs.iterdir() if path.is_file()}


def test_a_retried_create_of_a_job_gives_the_first_job_as_it_is_now(
    api: Api, http: httpx.Client, body: dict[str, Any]
) -> None:
    first = create(http, body, sent(0))
    assert create(http, dict(reversed(body.items())), sent(1)) == first
    http.post(f"{JOBS}/{first}/cancel")

    answer = http.post(JOBS, json=body, headers=sent(2))

    assert (answer.json()["id"], answer.json()["status"]) == (first, "cancelled")
    assert jobs_of(api, body) == [first]


def test_a_null_is_the_same_as_nothing_in_a_retry(api: Api, http: httpx.Client, body: dict[str, Any]) -> None:
    first = create(http, body, sent(0))

    assert create(http, body | {"seed": None, "hyperparameters": None}, sent(1)) == first


@pytest.mark.parametrize("headers", [{}, sent(0), {"x-stainless-retry-count": "no number"}])
def test_what_is_no_retry_is_a_new_intent(
    api: Api, http: httpx.Client, body: dict[str, Any], headers: dict[str, str]
) -> None:
    assert create(http, body, headers) != create(http, body, headers)
    assert len(jobs_of(api, body)) == 2


def test_a_retry_whose_original_never_came_makes_the_job_and_a_late_original_gets_it_once(
    api: Api, http: httpx.Client, body: dict[str, Any]
) -> None:
    first = create(http, body, sent(2))

    assert create(http, body, sent(3)) == first
    assert create(http, body, sent(1)) == first
    assert create(http, body, {}) != first  # a client that does not count has overtaken nobody
    assert create(http, body, sent(0)) == first
    assert create(http, body, sent(0)) != first


def test_two_equal_creates_that_both_lost_their_answers_get_one_job_each(
    http: httpx.Client, body: dict[str, Any]
) -> None:
    made = {create(http, body, sent(0)), create(http, body, sent(0))}

    assert {create(http, body, sent(1)), create(http, body, sent(1))} == made


@pytest.mark.parametrize("change", [{"suffix": "other"}, {"seed": 1}, {"metadata": {"a": "b"}}])
def test_a_retry_that_asks_for_something_else_is_no_repetition(
    http: httpx.Client, body: dict[str, Any], change: dict[str, Any]
) -> None:
    first = create(http, body, sent(0))

    assert create(http, body | change, sent(1)) != first


def test_a_retry_of_another_key_or_project_is_no_repetition(api: Api, http: httpx.Client) -> None:
    other_key = create_key(api.database, "mine").plaintext
    first = upload(http, b"shared", sent(0)).json()["id"]
    with api.http(other_key) as colleague, api.http(api.foreign_key) as stranger:
        ids = {upload(client, b"shared", sent(1)).json()["id"] for client in (colleague, stranger)}

    assert len(ids | {first}) == 3


def test_a_retry_after_more_than_an_hour_is_a_new_intent(api: Api, http: httpx.Client, body: dict[str, Any]) -> None:
    first = create(http, body, sent(0))
    age(api, first, 3601)

    assert create(http, body, sent(1)) != first


def test_retries_at_once_make_one_job(api: Api, body: dict[str, Any]) -> None:
    ids: list[str] = []

    def send(count: int) -> None:
        with api.http() as http:
            ids.append(create(http, body, sent(count)))

    threads = [threading.Thread(target=send, args=(count,)) for count in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ids == jobs_of(api, body) * 8


def test_the_official_client_gets_its_job_when_the_answer_was_lost(api: Api, body: dict[str, Any]) -> None:
    """The first answer is taken away from it; it tries again by itself."""
    lost: list[str] = []

    def lose_the_first(response: Any) -> None:
        if not lost:
            lost.append(response.read() and response.json()["id"])
            raise httpx2.ReadError("the answer is lost")

    with api.client() as client:
        retrying = client.with_options(max_retries=1)
        retrying._client.event_hooks["response"] = [lose_the_first]
        job = retrying.fine_tuning.jobs.create(**body)

    assert [job.id] == lost == jobs_of(api, body)


def test_a_retried_upload_gives_the_first_file_and_keeps_no_second_copy(api: Api, http: httpx.Client) -> None:
    content = random_base62(30).encode()
    first = upload(http, content, sent(0)).json()
    before = stored(api)

    assert upload(http, content, sent(1)).json() == first
    assert stored(api) == before
    assert upload(http, content, sent(0)).json()["id"] != first["id"]
    assert upload(http, content + b" ", sent(1)).json()["id"] != first["id"]
    assert upload(http, content, sent(1), purpose="user_data").json()["id"] != first["id"]


def test_a_retried_upload_of_a_file_that_was_deleted_since_makes_it_again(http: httpx.Client) -> None:
    content = random_base62(30).encode()
    first = upload(http, content, sent(0)).json()["id"]
    http.delete(f"/v1/files/{first}")

    again = upload(http, content, sent(1)).json()["id"]

    assert again != first
    assert http.get(f"/v1/files/{again}/content").content == content


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        ("cancel", JobStatus.VALIDATING_FILES, "cancelled"),
        ("pause", JobStatus.QUEUED, "paused"),
        ("resume", JobStatus.PAUSED, "queued"),
    ],
)
def test_a_retried_action_is_answered_like_the_first(
    api: Api, http: httpx.Client, action: str, before: JobStatus, after: str
) -> None:
    job = make_job(api.services, api.project_id, status=before)
    url = f"{JOBS}/{job.id}/{action}"
    assert http.post(url, headers=sent(0)).json()["status"] == after

    assert http.post(url, headers=sent(1)).json()["status"] == after
    assert http.post(url, headers=sent(0)).status_code == 400
    with api.http(api.foreign_key) as stranger:
        assert stranger.post(url, headers=sent(1)).status_code == 404
    http.post(f"{JOBS}/{job.id}/cancel")  # strict clients cannot list a paused job


def test_a_retried_delete_is_answered_like_the_first(api: Api, http: httpx.Client) -> None:
    file_id = make_file(api.services, api.project_id).id
    deleted = {"id": file_id, "object": "file", "deleted": True}
    assert http.delete(f"/v1/files/{file_id}", headers=sent(0)).json() == deleted

    assert http.delete(f"/v1/files/{file_id}", headers=sent(1)).json() == deleted
    assert http.delete(f"/v1/files/{file_id}", headers=sent(0)).status_code == 404
    assert http.delete("/v1/files/file-x", headers=sent(1)).status_code == 404
    with api.http(api.foreign_key) as stranger:
        assert stranger.delete(f"/v1/files/{file_id}", headers=sent(1)).status_code == 404


def test_a_retried_delete_of_a_model_is_answered_like_the_first(api: Api, http: httpx.Client) -> None:
    name = make_model(api.services, api.project_id).name
    deleted = {"id": name, "object": "model", "deleted": True}
    assert http.delete(f"/v1/models/{name}", headers=sent(0)).json() == deleted

    assert http.delete(f"/v1/models/{name}", headers=sent(1)).json() == deleted
    assert http.delete(f"/v1/models/{name}", headers=sent(0)).status_code == 404


def test_the_same_key_gets_the_same_answer(api: Api, http: httpx.Client, body: dict[str, Any]) -> None:
    key = random_base62(20)
    first = http.post(JOBS, json=body, headers=keyed(key))
    http.post(f"{JOBS}/{first.json()['id']}/cancel")

    again = http.post(JOBS, json=body, headers=keyed(key))

    assert (again.status_code, again.content) == (200, first.content)
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
    assert len(jobs_of(api, body)) == 1


def test_the_same_key_gets_the_same_file(api: Api, http: httpx.Client) -> None:
    key = random_base62(20)
    first = upload(http, CONTENT, keyed(key))
    before = stored(api)

    again = upload(http, CONTENT, keyed(key))

    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert stored(api) == before


def test_a_key_of_another_request_is_refused_and_nothing_is_done(
    api: Api, http: httpx.Client, body: dict[str, Any]
) -> None:
    key = random_base62(20)
    job = create(http, body, keyed(key))
    before = stored(api)

    for answer in (
        http.post(JOBS, json=body | {"seed": 7}, headers=keyed(key)),
        http.post(f"{JOBS}/{job}/cancel", headers=keyed(key)),
        upload(http, CONTENT, keyed(key)),
    ):
        error = answer.json()["error"]
        assert (answer.status_code, error["type"], error["param"], error["code"]) == (
            400,
            "invalid_request_error",
            "Idempotency-Key",
            "idempotency_key_reused",
        )
    assert jobs_of(api, body) == [job]
    assert http.get(f"{JOBS}/{job}").json()["status"] == "validating_files"
    assert stored(api) == before


def test_a_key_is_its_projects_own(api: Api, http: httpx.Client) -> None:
    key = random_base62(20)
    first = upload(http, CONTENT, keyed(key)).json()["id"]
    with api.http(api.foreign_key) as stranger:
        answer = upload(stranger, b"something else", keyed(key))

    assert answer.status_code == 200
    assert answer.json()["id"] != first


def test_what_was_refused_is_not_kept(http: httpx.Client, body: dict[str, Any]) -> None:
    key = random_base62(20)
    assert http.post(JOBS, json=body | {"model": "gpt-9"}, headers=keyed(key)).status_code == 400

    assert http.post(JOBS, json=body, headers=keyed(key)).status_code == 200


def test_a_key_is_free_again_after_a_day(api: Api, http: httpx.Client, body: dict[str, Any]) -> None:
    key = random_base62(20)
    first = create(http, body, keyed(key))
    age(api, first, 24 * 3600 + 1)

    assert create(http, body | {"seed": 3}, keyed(key)) != first


def test_what_is_older_than_a_day_is_swept(api: Api, http: httpx.Client, body: dict[str, Any]) -> None:
    old, young = create(http, body, sent(0)), create(http, body, sent(0))
    age(api, old, 24 * 3600 + 1)

    Sweeper(api.database, api.services.blobs, api.services.tokens, api.services.settings).sweep_expired()

    with system_session(api.database) as session:
        of_both = select(RememberedRequestRow.object_id).where(col(RememberedRequestRow.object_id).in_([old, young]))
        assert list(session.exec(of_both)) == [young]


@pytest.mark.parametrize(("key", "code"), [("", "empty_string"), ("x" * 256, "string_above_max_length")])
def test_a_key_that_cannot_be_one_is_refused(http: httpx.Client, key: str, code: str) -> None:
    answer = http.post(JOBS, json={}, headers=keyed(key))

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Idempotency-Key")
    assert answer.json()["error"]["code"] == code


def test_a_key_means_nothing_where_nothing_is_made(api: Api, http: httpx.Client) -> None:
    file_id = make_file(api.services, api.project_id).id
    key = random_base62(20)

    assert http.get(f"/v1/files/{file_id}", headers=keyed(key)).status_code == 200
    assert http.delete(f"/v1/files/{file_id}", headers=keyed(key)).status_code == 200
    assert http.delete(f"/v1/files/{file_id}", headers=keyed(key)).status_code == 404
    assert upload(http, CONTENT, keyed(key)).status_code == 200


def test_the_same_key_is_told_to_wait_while_the_first_is_running(http: httpx.Client, api: Api) -> None:
    key = random_base62(20)
    may_go_on = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        may_go_on.wait(30)
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nx\r\n--b--\r\n'

    answers: list[httpx.Response] = []
    form = {"content-type": "multipart/form-data; boundary=b", **keyed(key)}
    with api.http() as other:
        thread = threading.Thread(
            target=lambda: answers.append(other.post("/v1/files", content=slowly(), headers=form))
        )
        thread.start()
        deadline = time.monotonic() + 30
        while not any((api.services.settings.blobs / "tmp").iterdir()):
            assert time.monotonic() < deadline
        refused = upload(http, b"x", keyed(key))
        may_go_on.set()
        thread.join()

    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "idempotency_key_in_use")
    assert (refused.headers["x-should-retry"], refused.headers["retry-after"]) == ("true", "1")
    assert [answer.status_code for answer in answers] == [200]


def age(api: Api, object_id: str, seconds: float) -> None:
    with project_session(api.database, api.project_id, write=True) as session:
        for row in session.exec(select(RememberedRequestRow).where(RememberedRequestRow.object_id == object_id)):
            row.created_at -= seconds
            session.add(row)
