"""What has expired goes while the service runs, and nothing else does."""

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from server.auth.api_keys import create_key
from server.bootstrap import Services, build_services
from server.db.project_session import project_session
from server.db.tables import FileRow, ProjectOwned, UploadPartRow, UploadRow
from server.ids import ProjectId
from server.storage.blob_store import BlobKey
from server.sweeper import Sweeper
from server.tidying_up import tidy_up
from server.vocabulary import UploadStatus
from tests.factories import make_file, make_part, make_upload
from tests.running_api import make_settings

NOW = int(time.time())
DAY_S = 24 * 3600


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = build_services(make_settings(tmp_path))
    yield services
    services.database.dispose()


@pytest.fixture
def project_id(services: Services) -> ProjectId:
    key = create_key(services.database, "mine").plaintext
    return services.authenticator.authenticate([(b"authorization", f"Bearer {key}".encode())]).project_id


def sweeper_at(services: Services, now: float) -> Sweeper:
    return Sweeper(services.database, services.blobs, services.tokens, services.settings, lambda: now)


def find(services: Services, row: ProjectOwned) -> ProjectOwned | None:
    with project_session(services.database, ProjectId(row.project_id)) as session:
        return session.get(type(row), row.id)  # type: ignore[attr-defined]


def has_blob(services: Services, row: FileRow | UploadPartRow) -> bool:
    return (services.settings.blobs / row.id).exists()


def set_upload(services: Services, upload: UploadRow, **columns: object) -> None:
    with project_session(services.database, ProjectId(upload.project_id), write=True) as session:
        row = session.get_one(UploadRow, upload.id)
        for name, value in columns.items():
            setattr(row, name, value)


def test_files_go_when_their_time_is_over(services: Services, project_id: ProjectId) -> None:
    kept = [make_file(services, project_id, expires_at=expires_at) for expires_at in (None, NOW + 1)]
    expired = [make_file(services, project_id, expires_at=NOW) for _ in range(201)]  # more than at once
    for row in (*kept, *expired):
        (services.settings.tokenized / row.id / "key").mkdir(parents=True)

    sweeper_at(services, NOW).sweep_expired()

    assert [find(services, row) is not None and has_blob(services, row) for row in kept] == [True, True]
    assert not any(find(services, row) or has_blob(services, row) for row in expired)
    assert {path.name for path in services.settings.tokenized.iterdir()} == {row.id for row in kept}


def test_an_upload_that_is_not_completed_in_time_loses_its_parts(services: Services, project_id: ProjectId) -> None:
    overdue, pending, completed = (make_upload(services, project_id, [b"x"]) for _ in range(3))
    parts = {upload.id: make_part(services, upload) for upload in (overdue, pending)}
    set_upload(services, overdue, expires_at=NOW)
    set_upload(services, pending, expires_at=NOW + 1)
    set_upload(services, completed, expires_at=NOW, created_at=NOW, status=UploadStatus.COMPLETED)

    sweeper_at(services, NOW).sweep_expired()

    rows = [find(services, upload) for upload in (overdue, pending, completed)]
    assert [row.status for row in rows if isinstance(row, UploadRow)] == ["expired", "pending", "completed"]
    assert find(services, parts[overdue.id]) is None
    assert not has_blob(services, parts[overdue.id])
    assert find(services, parts[pending.id]) is not None
    assert has_blob(services, parts[pending.id])


def test_an_upload_that_has_ended_is_forgotten_after_a_month(services: Services, project_id: ProjectId) -> None:
    uploads = {status: make_upload(services, project_id) for status in UploadStatus}
    for status, upload in uploads.items():
        set_upload(services, upload, status=status, created_at=NOW - 31 * DAY_S, expires_at=NOW + 1)
    recent = make_upload(services, project_id)
    set_upload(services, recent, status=UploadStatus.COMPLETED, created_at=NOW - 29 * DAY_S)

    sweeper_at(services, NOW).sweep_expired()

    assert [status for status, upload in uploads.items() if find(services, upload)] == [UploadStatus.PENDING]
    assert find(services, recent) is not None


def test_blobs_that_no_row_stands_for_go_after_an_hour(services: Services, project_id: ProjectId) -> None:
    file = make_file(services, project_id)
    part = make_part(services, make_upload(services, project_id))
    for name, written_at in (("file-old", NOW - 1), ("file-new", NOW)):
        services.blobs.put(BlobKey(name), [b"x"])
        os.utime(services.settings.blobs / name, (written_at, written_at))

    sweeper_at(services, NOW + 3600).sweep_orphans()

    left = {path.name for path in services.settings.blobs.iterdir() if path.is_file()}
    assert left == {file.id, part.id, "file-new"}


def test_what_is_tokenised_of_files_that_are_gone_goes_at_once(services: Services, project_id: ProjectId) -> None:
    file = make_file(services, project_id)
    for name in (file.id, "file-gone", ".staged-x"):
        (services.settings.tokenized / name / "key").mkdir(parents=True)

    sweeper_at(services, NOW).sweep_orphans()

    assert {path.name for path in services.settings.tokenized.iterdir()} == {file.id}


def test_it_sweeps_until_it_is_told_to_stop(services: Services, project_id: ProjectId) -> None:
    stop = Event()
    sweeper = Sweeper(services.database, services.blobs, services.tokens, services.settings)
    thread = Thread(target=sweeper.run, args=(stop,), kwargs={"expired_every_s": 0.01})
    thread.start()
    try:
        for _ in range(2):
            row = make_file(services, project_id, expires_at=int(time.time()) - 1)
            deadline = time.monotonic() + 20
            while has_blob(services, row):
                assert time.monotonic() < deadline
                time.sleep(0.01)
    finally:
        stop.set()
        thread.join(timeout=20)
    assert not thread.is_alive()


def test_a_service_starts_though_something_cannot_be_tidied_up(
    services: Services, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the rest is done."""
    left = services.settings.estimates / "est_left"
    left.mkdir(parents=True)

    def fail(_sweeper: Sweeper) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Sweeper, "sweep_expired", fail)
    tidy_up(services)

    assert [record.getMessage() for record in caplog.records] == ["tidying up at the start broke off: OSError"]
    assert not left.exists()
