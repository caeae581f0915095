"""An upload whose completion is killed becomes one file, and what has expired goes while the service runs."""

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from server.db.engine import open_database
from server.db.system_session import system_session
from server.db.tables import FileRow, UploadRow
from server.settings import Settings
from server.storage.local_directory import LocalDirectory
from server.storage.token_cache import TokenCache
from server.sweeper import Sweeper
from tests.api_process import START_TIMEOUT_S, ApiProcess, api_process
from tests.service import Service

PARTS = [bytes([number]) * 16 * 1024**2 for number in range(4)]
MD5 = hashlib.md5(b"".join(PARTS)).hexdigest()


def is_joining(blobs: Path) -> bool:
    return any((blobs / "tmp").glob("file-*"))


def is_joined(blobs: Path) -> bool:
    return any(blobs.glob("file-*"))


def are_parts_going(blobs: Path) -> bool:
    return len(list(blobs.glob("part_*"))) < len(PARTS)


@pytest.mark.parametrize("moment", [is_joining, is_joined, are_parts_going], ids=lambda moment: moment.__name__)
def test_a_completion_that_is_killed_gives_one_file(moment: Callable[[Path], bool]) -> None:
    with api_process() as api, api.client(api.address[1]) as client, ThreadPoolExecutor(1) as thread:
        upload = client.uploads.create(
            bytes=sum(map(len, PARTS)), filename="training.jsonl", mime_type="text/jsonl", purpose="fine-tune"
        )
        part_ids = [client.uploads.parts.create(upload.id, data=part).id for part in PARTS]

        completing = thread.submit(client.uploads.complete, upload.id, part_ids=part_ids, md5=MD5)
        kill_at(api, moment)
        completed = completing.result()

        assert (completed.status, [completed.file]) == ("completed", client.files.list().data)
        assert completed.file is not None
        assert hashlib.md5(client.files.content(completed.file.id).read()).hexdigest() == MD5
        sweep(api)
        assert left(api) == [completed.file.id]


def test_the_running_service_deletes_what_has_expired(service: Service, client: openai.OpenAI) -> None:
    file = client.files.create(file=b"{}", purpose="fine-tune")
    upload = client.uploads.create(bytes=2, filename="f", mime_type="text/jsonl", purpose="fine-tune")
    part = client.uploads.parts.create(upload.id, data=b"{}")
    database = open_database(service.home / "tunesmith.db")
    with system_session(database, write=True) as session:  # what an hour does
        session.get_one(FileRow, file.id).expires_at = 1
        session.get_one(UploadRow, upload.id).expires_at = 1
    database.dispose()

    blobs = [service.home / "files" / key for key in (file.id, part.id)]
    service.wait_for(lambda: not any(blob.exists() for blob in blobs), "the blobs to be gone", timeout_s=60)
    assert client.uploads.cancel(upload.id).status == "expired"


def kill_at(api: ApiProcess, moment: Callable[[Path], bool]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not moment(api.home / "files"):
        assert time.monotonic() < deadline
    api.kill()
    api.start()
    api.wait_until_it_answers()


def sweep(api: ApiProcess) -> None:
    """What the worker does after a while."""
    database = open_database(api.home / "tunesmith.db")
    Sweeper(
        database,
        LocalDirectory(api.home / "files"),
        TokenCache(api.home / "tokenized"),
        Settings(home=api.home),
        lambda: time.time() + 3601,
    ).sweep_orphans()
    database.dispose()


def left(api: ApiProcess) -> list[str]:
    return [path.name for path in (api.home / "files").rglob("*") if path.is_file()]
