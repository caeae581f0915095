"""Files that arrive in parts, by the official client."""

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from sqlmodel import select

from server.db.project_session import project_session
from server.db.tables import UploadPartRow, UploadRow
from server.ids import ProjectId
from server.storage.blob_store import BlobKey, BlobMissing
from tests.running_api import Api

CONTENT = bytes(range(256)) * 1000
UNKNOWN = "upload_" + "A" * 32


def test_a_file_in_parts_is_the_file(client: openai.OpenAI, tmp_path: Path, api: Api) -> None:
    path = tmp_path / "training.jsonl"
    path.write_bytes(CONTENT)

    upload = client.uploads.upload_file_chunked(
        file=path,
        mime_type="text/jsonl",
        purpose="fine-tune",
        part_size=100_000,
        md5=hashlib.md5(CONTENT).hexdigest().upper(),
    )

    assert (upload.status, upload.bytes, upload.filename) == ("completed", len(CONTENT), "training.jsonl")
    assert upload.expires_at == upload.created_at + 3600
    assert upload.file is not None
    assert client.files.retrieve(upload.file.id) == upload.file
    assert (upload.file.bytes, upload.file.purpose, upload.file.expires_at) == (len(CONTENT), "fine-tune", None)
    assert client.files.content(upload.file.id).read() == CONTENT
    assert upload.file.id in [file.id for file in client.files.list(purpose="fine-tune")]
    assert parts_of(api, upload.id) == []


def test_parts_may_come_at_once_and_are_ordered_at_the_end(client: openai.OpenAI, api: Api) -> None:
    pieces = [bytes([number]) * 70_000 for number in range(8)]
    upload = create(client, bytes=sum(map(len, pieces[:-1])))
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda piece: client.uploads.parts.create(upload.id, data=piece), pieces))

    completed = client.uploads.complete(upload.id, part_ids=[part.id for part in reversed(parts[:-1])])

    assert completed.file is not None
    assert client.files.content(completed.file.id).read() == b"".join(reversed(pieces[:-1]))
    for part in parts:  # the one that was not named, too
        with pytest.raises(BlobMissing):
            api.services.blobs.open(BlobKey(part.id))


def test_an_upload_says_what_it_is(client: openai.OpenAI) -> None:
    upload = create(client, bytes=10, filename="größe.jsonl", purpose="user_data")
    part = client.uploads.parts.create(upload.id, data=b"x")

    assert (upload.status, upload.object, upload.file, upload.purpose) == ("pending", "upload", None, "user_data")
    assert upload.filename == "größe.jsonl"
    assert upload.id.startswith("upload_")
    assert (part.object, part.upload_id) == ("upload.part", upload.id)
    assert part.id.startswith("part_")


@pytest.mark.parametrize(
    ("asked", "expires_in_s"),
    [
        ({"purpose": "user_data"}, None),
        ({"purpose": "batch"}, 30 * 24 * 3600),
        ({"purpose": "vision", "expires_after": {"anchor": "created_at", "seconds": 3600}}, 3600),
    ],
)
def test_the_file_expires_as_was_asked(client: openai.OpenAI, asked: dict[str, Any], expires_in_s: int | None) -> None:
    file = complete(client, create(client, **asked)).file

    assert file is not None
    assert file.purpose == asked["purpose"]
    assert file.expires_at == (None if expires_in_s is None else file.created_at + expires_in_s)


@pytest.mark.parametrize("mime_type", ["text/jsonl", "application/jsonl", "application/json", "pdf", "x/y; charset=z"])
def test_any_mime_type_will_do(client: openai.OpenAI, mime_type: str) -> None:
    assert create(client, mime_type=mime_type).status == "pending"


@pytest.mark.parametrize(
    ("sent", "label"), [("upload", "upload"), ("", "upload"), ("../../x", "x"), ("C:\\a\\b.jsonl", "b.jsonl")]
)
def test_a_filename_is_a_label_only(client: openai.OpenAI, sent: str, label: str) -> None:
    assert create(client, filename=sent).filename == label


def test_completing_again_gives_the_same_file(client: openai.OpenAI, api: Api) -> None:
    upload = create(client, bytes=2)
    part_ids = [client.uploads.parts.create(upload.id, data=data).id for data in (b"a", b"b")]

    answers = [client.uploads.complete(upload.id, part_ids=part_ids) for _ in range(2)]

    assert answers[0] == answers[1]
    with pytest.raises(openai.BadRequestError, match=f'Cannot complete upload {upload.id}, .* status "completed"'):
        client.uploads.complete(upload.id, part_ids=part_ids[::-1])


def test_of_many_completions_at_once_one_file_comes(client: openai.OpenAI, api: Api) -> None:
    upload = create(client, bytes=4_000_000, filename="at-once")
    part = client.uploads.parts.create(upload.id, data=b"x" * 4_000_000)
    blobs_before = stored(api)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.uploads.complete(upload.id, part_ids=[part.id]), range(8)))

    assert len({answer.file.id for answer in answers if answer.file}) == 1
    assert len([file for file in client.files.list() if file.filename == "at-once"]) == 1
    assert len(stored(api)) == len(blobs_before)  # a file for a part


def test_the_answer_to_a_late_retry_tells_that_the_file_is_deleted(client: openai.OpenAI) -> None:
    upload = create(client, bytes=1)
    part = client.uploads.parts.create(upload.id, data=b"x")
    completed = client.uploads.complete(upload.id, part_ids=[part.id])
    assert completed.file is not None
    client.files.delete(completed.file.id)

    again = client.uploads.complete(upload.id, part_ids=[part.id])

    assert (again.status, again.file) == ("completed", None)


def test_a_cancelled_upload_takes_nothing_more(client: openai.OpenAI, api: Api) -> None:
    upload = create(client, bytes=1)
    part = client.uploads.parts.create(upload.id, data=b"x")

    assert client.uploads.cancel(upload.id).status == "cancelled"

    assert client.uploads.cancel(upload.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match=f'Cannot add a part to upload {upload.id}, .* "cancelled"'):
        client.uploads.parts.create(upload.id, data=b"x")
    with pytest.raises(openai.BadRequestError, match=r'Cannot complete upload .* "cancelled". Create a new upload'):
        client.uploads.complete(upload.id, part_ids=[part.id])
    with pytest.raises(BlobMissing):
        api.services.blobs.open(BlobKey(part.id))


def test_a_completed_upload_cannot_be_cancelled(client: openai.OpenAI) -> None:
    upload = complete(client, create(client))

    with pytest.raises(openai.BadRequestError, match=f'Cannot cancel upload {upload.id}, .* status "completed"'):
        client.uploads.cancel(upload.id)
    with pytest.raises(openai.BadRequestError, match="Cannot add a part"):
        client.uploads.parts.create(upload.id, data=b"x")


def test_an_upload_expires_an_hour_after_its_creation(client: openai.OpenAI, api: Api) -> None:
    upload = create(client, bytes=1)
    part = client.uploads.parts.create(upload.id, data=b"x")
    expire(api, upload.id)

    with pytest.raises(openai.BadRequestError, match=r'Cannot add a part .* status "expired"'):
        client.uploads.parts.create(upload.id, data=b"x")
    with pytest.raises(openai.BadRequestError, match=r'Cannot complete .* status "expired"'):
        client.uploads.complete(upload.id, part_ids=[part.id])
    assert client.uploads.cancel(upload.id).status == "expired"


BAD_CREATES: dict[str, tuple[dict[str, Any], str, str]] = {
    "no bytes": ({"bytes": None}, "bytes", "Missing required parameter: 'bytes'."),
    "nothing": (
        {"bytes": 0},
        "bytes",
        "Invalid 'bytes': integer below minimum value. Expected a value >= 1",
    ),
    "too much": (
        {"bytes": 8 * 1024**3 + 1},
        "bytes",
        "Invalid 'bytes': integer above maximum value. Expected a value <= 8589934592, but got 8589934593 instead.",
    ),
    "bytes as text": ({"bytes": "5"}, "bytes", "Invalid type for 'bytes': expected an integer, but got a string"),
    "no name": ({"filename": None}, "filename", "Missing required parameter: 'filename'."),
    "no mime type": ({"mime_type": None}, "mime_type", "Missing required parameter: 'mime_type'."),
    "an empty mime type": ({"mime_type": ""}, "mime_type", "Invalid 'mime_type': empty string."),
    "another purpose": ({"purpose": "x"}, "purpose", "Invalid value: 'x'. Supported values are: 'fine-tune', "),
    "an expiry too soon": (
        {"expires_after": {"anchor": "created_at", "seconds": 1}},
        "expires_after.seconds",
        "Invalid 'expires_after.seconds': integer below minimum value. Expected a value >= 3600, but got 1 instead.",
    ),
    "an unknown field": ({"x": 1}, "x", "Unknown parameter: 'x'."),
}


@pytest.mark.parametrize("name", BAD_CREATES)
def test_a_bad_upload_is_refused_by_name(http: httpx.Client, name: str) -> None:
    changes, param, message = BAD_CREATES[name]
    asked = {"bytes": 1, "filename": "f", "mime_type": "text/jsonl", "purpose": "fine-tune"} | changes

    answer = http.post("/v1/uploads", json={key: value for key, value in asked.items() if value is not None})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert answer.json()["error"]["message"].startswith(message)


PART = '--b\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
END = b"\r\n--b--\r\n"
BAD_PARTS: dict[str, tuple[bytes, int, str | None, str]] = {
    "no data": (b"--b--\r\n", 400, "data", "Missing required parameter: 'data'."),
    "another field": (PART.format("file", "").encode() + END, 400, "file", "Unknown parameter: 'file'."),
    "empty": (PART.format("data", "").encode() + END, 400, "data", "The part is empty. Send at least one byte."),
    "broken off": (PART.format("data", "").encode() + b"x", 400, None, "The multipart body of your request ends"),
    "two": (
        (PART.format("data", "") + "x\r\n" + PART.format("data", "") + "y").encode() + END,
        400,
        "data",
        "More than one 'data' was sent",
    ),
}
FORM = {"content-type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize("name", BAD_PARTS)
def test_a_bad_part_is_refused_and_leaves_nothing(
    api: Api, client: openai.OpenAI, http: httpx.Client, name: str
) -> None:
    body, status, param, message = BAD_PARTS[name]
    upload = create(client)
    before = stored(api)

    answer = http.post(f"/v1/uploads/{upload.id}/parts", content=body, headers=FORM)

    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert answer.json()["error"]["message"].startswith(message)
    assert stored(api) == before
    assert parts_of(api, upload.id) == []


def test_a_part_needs_no_filename(client: openai.OpenAI, http: httpx.Client) -> None:
    upload = create(client, bytes=1)
    body = PART.format("data", "").encode() + b"x" + END

    part = http.post(f"/v1/uploads/{upload.id}/parts", content=body, headers=FORM).json()

    assert client.uploads.complete(upload.id, part_ids=[part["id"]]).status == "completed"


@pytest.mark.parametrize("declares_length", [True, False])
def test_a_part_is_at_most_64_mib(api: Api, client: openai.OpenAI, http: httpx.Client, declares_length: bool) -> None:
    upload = create(client)
    before = stored(api)
    body = PART.format("data", "").encode() + b"x" * (64 * 1024**2 + (200_000 if declares_length else 1)) + END

    answer = http.post(
        f"/v1/uploads/{upload.id}/parts", content=body if declares_length else iter([body]), headers=FORM
    )

    assert answer.status_code == 413
    assert "at most 67108864 bytes (64 MiB)" in answer.json()["error"]["message"]
    assert stored(api) == before


def test_what_does_not_make_the_file_is_refused_and_can_be_put_right(client: openai.OpenAI) -> None:
    upload = create(client, bytes=4)
    first, second, third = (client.uploads.parts.create(upload.id, data=data).id for data in (b"ab", b"cd", b"e"))
    foreign = client.uploads.parts.create(create(client).id, data=b"cd").id
    md5 = hashlib.md5(b"abcd").hexdigest()
    bad: list[tuple[dict[str, Any], str, str]] = [
        ({"part_ids": []}, "part_ids", "empty array"),
        ({"part_ids": [first, first]}, "part_ids", "a part is named twice"),
        ({"part_ids": [first, foreign]}, "part_ids", rf"'part_ids\[1\]': this upload has no part '{foreign}'"),
        ({"part_ids": [first, "part_x"]}, "part_ids", r"'part_ids\[1\]': this upload has no part 'part_x'"),
        ({"part_ids": [first, third]}, "part_ids", "these parts have 3 bytes .* the upload was created for 4"),
        ({"part_ids": [second, first], "md5": md5}, "md5", f"MD5 {hashlib.md5(b'cdab').hexdigest()}, .* says {md5}"),
        ({"part_ids": [first, second], "md5": "x"}, "md5", "expected the 32 hexadecimal digits"),
    ]
    for asked, param, message in bad:
        with pytest.raises(openai.BadRequestError, match=message) as refused:
            client.uploads.complete(upload.id, **asked)
        assert refused.value.param == param

    assert client.uploads.complete(upload.id, part_ids=[first, second], md5=md5).status == "completed"


def test_a_bad_md5_leaves_no_bytes(client: openai.OpenAI, api: Api) -> None:
    upload = create(client, bytes=1)
    part = client.uploads.parts.create(upload.id, data=b"x")
    before = stored(api)

    with pytest.raises(openai.BadRequestError):
        client.uploads.complete(upload.id, part_ids=[part.id], md5="0" * 32)

    assert stored(api) == before


def test_an_unknown_upload_is_a_404(client: openai.OpenAI, http: httpx.Client) -> None:
    with pytest.raises(openai.NotFoundError, match=f"No such Upload object: {UNKNOWN}") as unknown:
        client.uploads.parts.create(UNKNOWN, data=b"x")
    assert unknown.value.param == "id"
    with pytest.raises(openai.NotFoundError):
        client.uploads.complete(UNKNOWN, part_ids=["part_x"])
    with pytest.raises(openai.NotFoundError):
        client.uploads.cancel(UNKNOWN)


def test_an_upload_of_another_project_is_as_unknown(client: openai.OpenAI, stranger: openai.OpenAI, api: Api) -> None:
    upload = create(client, bytes=1)
    part = client.uploads.parts.create(upload.id, data=b"x")

    for act in (
        lambda: stranger.uploads.parts.create(upload.id, data=b"x"),
        lambda: stranger.uploads.complete(upload.id, part_ids=[part.id]),
        lambda: stranger.uploads.cancel(upload.id),
    ):
        with pytest.raises(openai.NotFoundError, match=f"No such Upload object: {upload.id}"):
            act()
    own = create(stranger, bytes=1)
    with pytest.raises(openai.BadRequestError, match="this upload has no part"):
        stranger.uploads.complete(own.id, part_ids=[part.id])
    assert client.uploads.complete(upload.id, part_ids=[part.id]).status == "completed"


def test_a_part_with_an_idempotency_key_is_added_once(client: openai.OpenAI, api: Api) -> None:
    upload = create(client, bytes=1)
    keyed = {"Idempotency-Key": f"part of {upload.id}"}

    first, again = (client.uploads.parts.create(upload.id, data=b"x", extra_headers=keyed) for _ in range(2))

    assert first == again
    assert parts_of(api, upload.id) == [first.id]


def test_parts_of_the_same_bytes_are_different_parts(client: openai.OpenAI) -> None:
    """Even where the client sends each of them for the second time."""
    upload = create(client, bytes=3)
    retried = {"x-stainless-retry-count": "1"}
    part_ids = [client.uploads.parts.create(upload.id, data=b"0", extra_headers=retried).id for _ in range(3)]

    assert client.uploads.complete(upload.id, part_ids=part_ids).status == "completed"


def create(client: openai.OpenAI, **asked: Any) -> openai.types.Upload:
    defaults = {"bytes": 5, "filename": "training.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune"}
    return client.uploads.create(**(defaults | asked))


def complete(client: openai.OpenAI, upload: openai.types.Upload) -> openai.types.Upload:
    part = client.uploads.parts.create(upload.id, data=b"x" * upload.bytes)
    return client.uploads.complete(upload.id, part_ids=[part.id])


def expire(api: Api, upload_id: str) -> None:
    with project_session(api.database, ProjectId(api.project_id), write=True) as session:
        session.get_one(UploadRow, upload_id).expires_at = int(time.time()) - 1


def parts_of(api: Api, upload_id: str) -> list[str]:
    with project_session(api.database, api.project_id) as session:
        return list(session.exec(select(UploadPartRow.id).where(UploadPartRow.upload_id == upload_id)))


def stored(api: Api) -> set[str]:
    return {str(path) for path in api.services.settings.blobs.rglob("*") if path.is_file()}
