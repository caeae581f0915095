"""/v1/batches by the official client: made, looked at, listed and cancelled; nothing of it is another project's."""

import httpx
import openai
import pytest

from server.auth.api_keys import create_key
from server.db.project_session import project_session
from server.db.tables import BatchRow
from server.vocabulary import FilePurpose
from tests.batch_rig import ENDPOINT, lines
from tests.factories import make_batch, make_file
from tests.running_api import Api


@pytest.fixture
def input_file(api: Api) -> str:
    return make_file(api.services, api.project_id, lines(2), purpose=FilePurpose.BATCH).id


def _create(client: openai.OpenAI, file_id: str, **asked: object) -> openai.types.Batch:
    return client.batches.create(
        input_file_id=file_id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        **asked,  # type: ignore[arg-type]
    )


def test_a_new_batch_is_as_openais(client: openai.OpenAI, input_file: str) -> None:
    raw = client.batches.with_raw_response.create(
        input_file_id=input_file, endpoint="/v1/chat/completions", completion_window="24h", metadata={"a": "b"}
    )
    body = raw.http_response.json()
    made = raw.parse()

    assert (made.status, made.endpoint, made.input_file_id) == ("validating", ENDPOINT, input_file)
    assert made.expires_at == made.created_at + 86400
    assert made.metadata == {"a": "b"}
    assert body["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    for name in ("in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "errors"):
        assert body[name] is None
    assert client.batches.retrieve(made.id) == made


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input_file_id": "file-unknown"}, "input_file_id"),
        ({"input_file_id": ""}, "input_file_id"),
        ({"endpoint": "/v1/videos"}, "endpoint"),
        ({"endpoint": "/v1/chat/completions/"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 3599}}, "output_expires_after.seconds"),
        ({"output_expires_after": {"anchor": "now", "seconds": 3600}}, "output_expires_after.anchor"),
        ({"metadata": {"x" * 65: "y"}}, None),
        ({"priority": 1}, "priority"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(http: httpx.Client, input_file: str, change: dict[str, object], param: str) -> None:
    asked = {"input_file_id": input_file, "endpoint": ENDPOINT, "completion_window": "24h"} | change
    answer = http.post("/v1/batches", json=asked)

    assert answer.status_code == 400
    assert param is None or answer.json()["error"]["param"] == param


def test_a_file_for_something_else_is_refused(api: Api, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="has the purpose 'fine-tune', but 'batch' is needed"):
        _create(client, make_file(api.services, api.project_id).id)


def test_another_projects_file_is_none(stranger: openai.OpenAI, input_file: str) -> None:
    with pytest.raises(openai.BadRequestError, match="invalid input_file_id"):
        _create(stranger, input_file)


def test_another_projects_batch_is_none(client: openai.OpenAI, stranger: openai.OpenAI, input_file: str) -> None:
    made = _create(client, input_file)
    for ask in (stranger.batches.retrieve, stranger.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            ask(made.id)
    assert made.id not in [batch.id for batch in stranger.batches.list()]


def test_batches_are_listed_in_pages_newest_first(client: openai.OpenAI, input_file: str) -> None:
    made = [_create(client, input_file).id for _ in range(3)][::-1]
    page = client.batches.list(limit=2)

    assert [batch.id for batch in page.data] == made[:2]
    assert page.has_more
    assert client.batches.list(after=made[1], limit=1).data[0].id == made[2]
    with pytest.raises(openai.BadRequestError):
        client.batches.list(after="batch_x")


def test_cancelling_can_be_repeated_until_it_has_ended(client: openai.OpenAI, input_file: str) -> None:
    made = _create(client, input_file)
    first = client.batches.cancel(made.id)
    assert (first.status, first.cancelling_at is None) == ("cancelling", False)
    assert client.batches.cancel(made.id) == first


def test_a_repeated_post_makes_one_batch(api: Api, input_file: str) -> None:
    asked = {"input_file_id": input_file, "endpoint": ENDPOINT, "completion_window": "24h"}
    with api.http() as http:
        made = [http.post("/v1/batches", json=asked, headers={"Idempotency-Key": input_file}).json() for _ in range(2)]

    assert made[0] == made[1]
    assert made[0]["id"].startswith("batch_")


def test_the_file_of_a_batch_goes_after_thirty_days(client: openai.OpenAI) -> None:
    file = client.files.create(file=("batch.jsonl", lines(1)), purpose="batch")

    assert file.expires_at == file.created_at + 30 * 86400


def test_a_project_cannot_have_batches_without_end(api: Api) -> None:
    key = create_key(api.database, "of many batches").plaintext
    project = api.services.authenticator.authenticate([(b"authorization", b"Bearer " + key.encode())]).project_id
    first = make_batch(api.services, project)
    with project_session(api.database, project, write=True) as session:
        session.add_all([BatchRow(**first.model_dump(exclude={"id", "seq"}), id=f"batch_{n}") for n in range(999)])
    with api.client(key) as client, pytest.raises(openai.BadRequestError) as refused:
        _create(client, first.input_file_id)
    assert refused.value.code == "batch_limit_reached"
