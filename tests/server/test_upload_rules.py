"""What an upload allows at a time, decided without a database."""

import re
from collections.abc import Callable

import pytest

from server.db.tables import UploadRow
from server.errors import ApiError
from server.uploads.rules import MAX_PARTS, check_md5, check_pending, check_room, check_size, status_at
from server.vocabulary import FilePurpose, UploadStatus

PENDING, COMPLETED, CANCELLED, EXPIRED = UploadStatus


def upload(status: UploadStatus, *, expires_at: int = 100) -> UploadRow:
    return UploadRow(
        id="upload_a",
        project_id="proj_a",
        filename="f",
        purpose=FilePurpose.FINE_TUNE,
        mime_type="text/jsonl",
        bytes=1,
        created_at=0,
        expires_at=expires_at,
        status=status,
    )


@pytest.mark.parametrize(
    ("status", "now", "expected"),
    [
        (PENDING, 99.9, PENDING),
        (PENDING, 100, EXPIRED),
        (COMPLETED, 101, COMPLETED),
        (CANCELLED, 101, CANCELLED),
        (EXPIRED, 99, EXPIRED),
    ],
)
def test_a_pending_upload_expires_and_no_other(status: UploadStatus, now: float, expected: UploadStatus) -> None:
    assert status_at(upload(status), now) == expected


WITHIN: dict[str, Callable[[], None]] = {
    "before the end": lambda: check_pending(upload(PENDING), "x", now=99),
    "as large as may be": lambda: check_size(10, max_upload_bytes=10),
    "as many parts as may be": lambda: check_room(MAX_PARTS, 10, max_upload_bytes=10),
    "no md5": lambda: check_md5(None, "ab"),
    "an md5 in capitals": lambda: check_md5("AB", "ab"),
}
BEYOND: dict[str, tuple[Callable[[], None], str]] = {
    "after the end": (
        lambda: check_pending(upload(PENDING), "cancel", now=100),
        'Cannot cancel upload upload_a, which already has status "expired"',
    ),
    "too large": (lambda: check_size(11, max_upload_bytes=10), "Expected a value <= 10, but got 11"),
    "too many parts": (lambda: check_room(MAX_PARTS + 1, 10, max_upload_bytes=10), "at most 10000 parts"),
    "too many bytes": (lambda: check_room(1, 11, max_upload_bytes=10), "at most 10 bytes together"),
    "another md5": (lambda: check_md5("AC", "ab"), "has the MD5 ab, but 'md5' says ac"),
}


@pytest.mark.parametrize("name", WITHIN)
def test_what_is_within_the_bounds_is_allowed(name: str) -> None:
    WITHIN[name]()


@pytest.mark.parametrize("name", BEYOND)
def test_what_is_beyond_a_bound_is_refused(name: str) -> None:
    check, message = BEYOND[name]
    with pytest.raises(ApiError, match=re.escape(message)):
        check()
