import io
import socket
import time
from pathlib import Path

import httpx
import openai
import pytest

from server.db.system_session import system_session
from server.db.tables import FileRow
from server.storage.blob_store import BlobKey, BlobMissing
from server.tidying_up import tidy_up
from server.vocabulary import UPLOAD_PURPOSES, FilePurpose
from tests.factories import make_file
from tests.running_api import Api

CONTENT = b'{"messages": []}\n'


def test_an_uploaded_file_is_processed_and_can_be_read_back(client: openai.OpenAI) -> None:
    created = client.files.create(file=("training.jsonl", CONTENT), purpose="fine-tune")

    assert created.id.startswith("file-")
    assert len(created.id) == len("file-") + 22
    assert (created.bytes, created.filename, created.purpose) == (len(CONTENT), "training.jsonl", "fine-tune")
    assert (created.status, created.status_details, created.expires_at) == ("processed", None, None)
    assert client.files.retrieve(created.id) == created
    assert client.files.wait_for_processing(created.id) == created
    content = client.files.content(created.id)
    assert content.read() == CONTENT
    assert content.response.headers["content-type"] == "application/octet-stream"
    assert content.response.headers["content-disposition"] == 'attachment; filename="training.jsonl"'


def test_whatever_is_in_a_file_is_accepted_at_upload(client: openai.OpenAI) -> None:
    content = b"\xff\x00 this is neither UTF-8 nor JSON \r\n--boundary"

    created = client.files.create(file=content, purpose="fine-tune")

    assert (created.status, created.filename) == ("processed", "upload")
    assert client.files.content(created.id).read() == content


def test_a_file_of_several_pieces_arrives_whole(client: openai.OpenAI, api: Api) -> None:
    content = bytes(range(256)) * 12_000

    created = client.files.create(file=io.BytesIO(content), purpose="fine-tune")

    assert client.files.content(created.id).read() == content
    with system_session(api.database) as session:
        assert session.get_one(FileRow, created.id).bytes == len(content)


@pytest.mark.parametrize(
    ("sent", "label", "header"),
    [
        ("größe.jsonl", "größe.jsonl", "attachment; filename=\"gr__e.jsonl\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.jsonl"),
        ("../../etc/passwd", "passwd", 'attachment; filename="passwd"'),
        ("C:\\data\\train.jsonl", "train.jsonl", 'attachment; filename="train.jsonl"'),
        ("a b;c.jsonl", "a b;c.jsonl", 'attachment; filename="a b;c.jsonl"'),
        ("/", "upload", 'attachment; filename="upload"'),
        ("x" * 300, "x" * 255, f'attachment; filename="{"x" * 255}"'),
    ],
)
def test_a_filename_is_a_label_only(client: openai.OpenAI, sent: str, label: str, header: str) -> None:
    created = client.files.create(file=(sent, CONTENT), purpose="fine-tune")

    assert created.filename == label
    assert client.files.content(created.id).response.headers["content-disposition"] == header


@pytest.mark.parametrize(
    ("disposition", "label"),
    [
        ('filename=""', "upload"),
        ("filename=plain.jsonl", "plain.jsonl"),
        (r'filename="a\"b.jsonl"', 'a"b.jsonl'),
        ('filename="größe.jsonl"', "größe.jsonl"),
        ("filename*=UTF-8''gr%C3%B6%C3%9Fe.jsonl", "größe.jsonl"),
        ("filename=\"gr__e.jsonl\"; FileName* = utf-8'de'gr%C3%B6%C3%9Fe.jsonl", "größe.jsonl"),
        ("filename*=iso-8859-1''gr%F6%DFe.jsonl", "größe.jsonl"),
        ("filename=\"; filename*=utf-8''x\"", "; filename*=utf-8''x"),
        ("filename*=utf-8''..%2F..%2Fpasswd", "passwd"),
    ],
)
def test_a_filename_may_be_written_in_many_ways(http: httpx.Client, disposition: str, label: str) -> None:
    """The part says no content type, as no client has to."""
    part = f'Content-Disposition: form-data; name="file"; {disposition}\r\n\r\n'.encode() + CONTENT

    answer = http.post("/v1/files", content=form(part, PURPOSE), headers=FORM)

    assert (answer.status_code, answer.json()["filename"]) == (200, label)


@pytest.mark.parametrize("purpose", UPLOAD_PURPOSES)
def test_every_purpose_is_kept_and_found_again(http: httpx.Client, purpose: FilePurpose) -> None:
    created = http.post("/v1/files", content=form(field_part("purpose", purpose), FILE), headers=FORM).json()

    listed = http.get("/v1/files", params={"purpose": purpose, "limit": 1}).json()
    http.delete(f"/v1/files/{created['id']}")  # the official client, where it is strict, reads no list with `evals`
    assert [created] == listed["data"]
    assert created["purpose"] == purpose


def test_the_purpose_may_come_after_the_file(http: httpx.Client) -> None:
    body = form(file_part(CONTENT), field_part("purpose", "fine-tune"))

    answer = http.post("/v1/files", content=body, headers=FORM)

    assert answer.json()["purpose"] == "fine-tune"


def test_a_file_that_expires_says_when(client: openai.OpenAI) -> None:
    created = client.files.create(
        file=CONTENT, purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    batch = client.files.create(file=CONTENT, purpose="batch")

    assert created.expires_at == created.created_at + 3600
    assert batch.expires_at == batch.created_at + 30 * 24 * 3600


def test_an_expired_file_is_gone_at_once_and_its_bytes_with_the_next_start(client: openai.OpenAI, api: Api) -> None:
    row = make_file(api.services, api.project_id, expires_at=int(time.time()) - 1)

    for act in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError, match=f"No such File object: {row.id}"):
            act(row.id)
    assert row.id not in [file.id for file in client.files.list()]
    with pytest.raises(openai.BadRequestError, match="Invalid 'after'"):
        client.files.list(after=row.id)
    with pytest.raises(openai.BadRequestError, match=f"invalid training_file: {row.id}"):
        client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=row.id)

    tidy_up(api.services)
    with system_session(api.database) as session:
        assert session.get(FileRow, row.id) is None


FORM = {"content-type": "multipart/form-data; boundary=b"}


def field_part(name: str, value: str) -> bytes:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()


def file_part(content: bytes, name: str = "file") -> bytes:
    return f'Content-Disposition: form-data; name="{name}"; filename="f"\r\n\r\n'.encode() + content


def form(*parts: bytes) -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"


PURPOSE = field_part("purpose", "fine-tune")
FILE = file_part(CONTENT)
PURPOSES = "'fine-tune', 'assistants', 'batch', 'vision', 'user_data', 'evals'"
BAD_UPLOADS: dict[str, tuple[bytes, str, str | None]] = {
    "no file": (form(PURPOSE), "Missing required parameter: 'file'.", "file"),
    "no purpose": (form(FILE), "Missing required parameter: 'purpose'.", "purpose"),
    "nothing": (form(), "Missing required parameter: 'file'.", "file"),
    "unknown purpose": (
        form(field_part("purpose", "tune"), FILE),
        f"Invalid value: 'tune'. Supported values are: {PURPOSES}.",
        "purpose",
    ),
    "a purpose of the server's own": (
        form(field_part("purpose", "fine-tune-results"), FILE),
        f"Invalid value: 'fine-tune-results'. Supported values are: {PURPOSES}.",
        "purpose",
    ),
    "an empty file": (
        form(PURPOSE, file_part(b"")),
        "The file is empty. Upload a file with at least one byte.",
        "file",
    ),
    "a string for the file": (
        form(PURPOSE, field_part("file", "x")),
        "Invalid type for 'file': expected a file, but got a string instead. "
        "Send it as a part with a filename, like curl's -F file=@training.jsonl.",
        "file",
    ),
    "a file for the purpose": (
        form(file_part(b"fine-tune", "purpose"), FILE),
        "Invalid type for 'purpose': expected a string, but got a file instead.",
        "purpose",
    ),
    "two files": (form(PURPOSE, FILE, FILE), "More than one 'file' was sent; upload them one by one.", "file"),
    "an unknown field": (form(PURPOSE, field_part("x", "1"), FILE), "Unknown parameter: 'x'.", "x"),
    "a broken form": (b"this is no form", "The multipart body of your request is malformed.", None),
    "a form that ends early": (
        form(PURPOSE, FILE)[:-8],
        "The multipart body of your request ends before its last boundary.",
        None,
    ),
    "half an expiry": (
        form(PURPOSE, field_part("expires_after[seconds]", "3600"), FILE),
        "Missing required parameter: 'expires_after[anchor]'.",
        "expires_after[anchor]",
    ),
    "an expiry too soon": (
        form(
            PURPOSE, field_part("expires_after[anchor]", "created_at"), field_part("expires_after[seconds]", "1"), FILE
        ),
        "Invalid 'expires_after[seconds]': expected a value between 3600 and 2592000, but got 1 instead.",
        "expires_after[seconds]",
    ),
    "an expiry that is no number": (
        form(
            PURPOSE, field_part("expires_after[anchor]", "created_at"), field_part("expires_after[seconds]", "²"), FILE
        ),
        "Invalid type for 'expires_after[seconds]': expected an integer, but got a string instead.",
        "expires_after[seconds]",
    ),
    "another anchor": (
        form(PURPOSE, field_part("expires_after[anchor]", "x"), field_part("expires_after[seconds]", "3600"), FILE),
        "Invalid value: 'x'. Supported values are: 'created_at'.",
        "expires_after[anchor]",
    ),
}


@pytest.mark.parametrize("name", BAD_UPLOADS)
def test_a_bad_upload_is_refused_by_name_and_leaves_nothing(api: Api, http: httpx.Client, name: str) -> None:
    body, message, param = BAD_UPLOADS[name]
    before = stored(api)

    answer = http.post("/v1/files", content=body, headers=FORM)

    assert (answer.status_code, answer.json()["error"]["message"]) == (400, message)
    assert answer.json()["error"]["param"] == param
    assert stored(api) == before


def test_a_body_that_is_no_form_is_refused(http: httpx.Client) -> None:
    no_boundary, long_boundary = "multipart/form-data", "multipart/form-data; boundary=" + "b" * 300
    for headers in ({}, *({"content-type": kind} for kind in ("", "application/json", no_boundary, long_boundary))):
        answer = http.post("/v1/files", content=b"{}", headers=headers)
        assert answer.status_code == 400
        assert "multipart/form-data with a boundary" in answer.json()["error"]["message"]


@pytest.mark.parametrize("declares_length", [True, False])
def test_a_file_that_is_too_large_is_refused_and_leaves_nothing(
    api: Api, http: httpx.Client, declares_length: bool
) -> None:
    """The answer arrives although the client is still sending."""
    before = stored(api)
    body = form(PURPOSE, file_part(b"x" * (20 * 1024**2)))

    answer = http.post("/v1/files", content=body if declares_length else iter([body]), headers=FORM)

    assert answer.status_code == 413
    assert "at most 4194304 bytes (4 MiB)" in answer.json()["error"]["message"]
    assert stored(api) == before


def test_a_large_upload_with_a_wrong_key_is_told_so(api: Api) -> None:
    with api.client("sk-wrong-key-of-mine") as client, pytest.raises(openai.AuthenticationError):
        client.files.create(file=b"x" * (20 * 1024**2), purpose="fine-tune")


def test_an_upload_that_breaks_off_leaves_nothing(api: Api) -> None:
    before = stored(api)
    address = httpx.URL(api.url)
    with socket.create_connection((str(address.host), address.port or 0)) as connection:
        head = (
            f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 3000000\r\n\r\n"
        )
        connection.sendall(head.encode() + form(PURPOSE, file_part(b"x" * 2_000_000))[:-10])
        wait_until(lambda: stored(api) != before)  # it has begun
    wait_until(lambda: stored(api) == before)


def test_files_are_listed_newest_first_and_page_by_page(api: Api, client: openai.OpenAI) -> None:
    rows = [make_file(api.services, api.project_id, purpose=FilePurpose.BATCH_OUTPUT) for _ in range(5)]
    newest_first = [row.id for row in reversed(rows)]

    assert [file.id for file in client.files.list(purpose="batch_output")] == newest_first
    assert [file.id for file in client.files.list(purpose="batch_output", order="asc")] == newest_first[::-1]
    assert [file.id for file in client.files.list(purpose="batch_output", limit=2)] == newest_first
    page = client.files.list(purpose="batch_output", limit=2, after=newest_first[0])
    assert ([file.id for file in page.data], page.has_more) == (newest_first[1:3], True)
    assert (page.first_id, page.last_id) == (newest_first[1], newest_first[2])  # type: ignore[attr-defined]
    assert client.files.list(purpose="batch_output", limit=2, after=newest_first[2]).has_more is False
    assert client.files.list(purpose="no such purpose").data == []
    assert client.files.list(limit=0).data == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=-1", "Invalid 'limit': integer below minimum value. Expected a value >= 0, but got -1 instead."),
        (
            "limit=10001",
            "Invalid 'limit': integer above maximum value. Expected a value <= 10000, but got 10001 instead.",
        ),
        ("limit=x", "Invalid type for 'limit': expected an integer, but got a string instead."),
        ("order=up", "Invalid value: 'up'. Supported values are: 'asc' or 'desc'."),
        ("after=file-x", "Invalid 'after': there is no object with the id 'file-x' in this list."),
    ],
)
def test_a_bad_list_query_is_refused(http: httpx.Client, query: str, message: str) -> None:
    answer = http.get(f"/v1/files?{query}")

    assert (answer.status_code, answer.json()["error"]["message"]) == (400, message)


def test_a_deleted_file_is_gone_with_its_bytes(api: Api, client: openai.OpenAI) -> None:
    row = make_file(api.services, api.project_id)
    tokens = api.services.settings.tokenized / row.id
    (tokens / "key").mkdir(parents=True)

    deleted = client.files.delete(row.id)

    assert (deleted.id, deleted.deleted, deleted.object) == (row.id, True, "file")
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {row.id}") as gone:
        client.files.retrieve(row.id)
    assert gone.value.param == "id"
    with pytest.raises(openai.NotFoundError):
        client.files.delete(row.id)
    with pytest.raises(BlobMissing):
        api.services.blobs.open(BlobKey(row.id))
    assert not tokens.exists()


@pytest.mark.parametrize("purpose", [FilePurpose.ASSISTANTS, FilePurpose.USER_DATA, FilePurpose.VISION])
def test_files_of_some_purposes_are_not_given_out(api: Api, client: openai.OpenAI, purpose: FilePurpose) -> None:
    row = make_file(api.services, api.project_id, purpose=purpose)

    with pytest.raises(openai.BadRequestError, match=f"Not allowed to download files of purpose: {purpose}"):
        client.files.content(row.id)


def test_a_result_file_is_given_out(api: Api, client: openai.OpenAI) -> None:
    row = make_file(api.services, api.project_id, b"step,train_loss\n", purpose=FilePurpose.FINE_TUNE_RESULTS)

    assert client.files.content(row.id).text == "step,train_loss\n"


def test_a_file_whose_bytes_are_lost_is_a_404(api: Api, client: openai.OpenAI) -> None:
    row = make_file(api.services, api.project_id)
    api.services.blobs.delete(BlobKey(row.id))

    with pytest.raises(openai.NotFoundError):
        client.files.content(row.id)


def stored(api: Api) -> set[str]:
    blobs: Path = api.services.settings.blobs
    return {str(path) for path in blobs.rglob("*") if path.is_file()}


def wait_until(condition: object, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)
