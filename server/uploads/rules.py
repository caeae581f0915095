"""What an upload allows, and which lists of parts make its file (pure)."""

import re
from collections.abc import Mapping, Sequence

from server.db.tables import UploadRow
from server.errors import InvalidRequest, PayloadTooLarge
from server.vocabulary import UploadStatus

LIFETIME_S = 3600  # OpenAI's
MAX_PART_BYTES = 64 * 1024**2  # likewise
MAX_PARTS = 10_000
_MD5 = re.compile(r"[0-9a-fA-F]{32}")


def status_at(upload: UploadRow, now: float) -> UploadStatus:
    """A pending upload whose time is over has expired, whether the sweeper has come by or not."""
    is_overdue = upload.status == UploadStatus.PENDING and upload.expires_at <= now
    return UploadStatus.EXPIRED if is_overdue else UploadStatus(upload.status)


def check_pending(upload: UploadRow, verb: str, *, now: float) -> None:
    """Raises: InvalidRequest: the upload has ended."""
    status = status_at(upload, now)
    if status != UploadStatus.PENDING:
        raise ended(upload.id, status, verb)


def ended(upload_id: str, status: UploadStatus, verb: str) -> InvalidRequest:
    return InvalidRequest(
        f'Cannot {verb} upload {upload_id}, which already has status "{status}". Create a new upload.'
    )


def check_size(size_bytes: int, *, max_upload_bytes: int) -> None:
    """Of a whole upload, as announced. Raises: InvalidRequest."""
    if size_bytes > max_upload_bytes:
        raise InvalidRequest(
            f"Invalid 'bytes': integer above maximum value. Expected a value <= {max_upload_bytes}, "
            f"but got {size_bytes} instead. TUNESMITH_MAX_UPLOAD_BYTES sets this.",
            param="bytes",
            code="integer_above_max_value",
        )


def check_room(n_parts: int, parts_bytes: int, *, max_upload_bytes: int) -> None:
    """How many parts there may be, and how many bytes they may have together. Raises: InvalidRequest."""
    if n_parts > MAX_PARTS:
        raise InvalidRequest(f"An upload has at most {MAX_PARTS} parts. Send larger ones in a new upload.")
    if parts_bytes > max_upload_bytes:
        raise InvalidRequest(
            f"The parts of an upload have at most {max_upload_bytes} bytes together, those sent again included. "
            "Create a new upload."
        )


def part_too_large() -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The part is too large: at most {MAX_PART_BYTES} bytes (64 MiB) are accepted. Send the rest as further parts.",
        param="data",
    )


def check_parts(part_ids: Sequence[str], sizes: Mapping[str, int], *, announced_bytes: int) -> None:
    """Compare what is asked for with the upload's parts, by their ids.

    Raises:
        InvalidRequest: they do not make the file that was announced.
    """
    if not part_ids:
        raise _wrong_parts("Invalid 'part_ids': empty array. Name the parts in the order of the file.", "empty_array")
    for index, part_id in enumerate(part_ids):
        if part_id not in sizes:
            raise _wrong_parts(f"Invalid 'part_ids[{index}]': this upload has no part '{part_id[:64]}'.")
    if len(set(part_ids)) < len(part_ids):
        raise _wrong_parts("Invalid 'part_ids': a part is named twice. Send the bytes again to have them twice.")
    total = sum(sizes[part_id] for part_id in part_ids)
    if total != announced_bytes:
        raise _wrong_parts(
            f"Invalid 'part_ids': these parts have {total} bytes together, but the upload was created for "
            f"{announced_bytes}. Name all parts, add what is missing, or create an upload with the right 'bytes'."
        )


def check_md5_form(md5: str | None) -> None:
    """Raises: InvalidRequest."""
    if md5 is not None and not _MD5.fullmatch(md5):
        raise InvalidRequest(
            "Invalid 'md5': expected the 32 hexadecimal digits of the file's MD5.", param="md5", code="invalid_value"
        )


def check_md5(asked: str | None, actual: str) -> None:
    """Raises: InvalidRequest: what arrived is not what the client has."""
    if asked is not None and asked.lower() != actual:
        raise InvalidRequest(
            f"The file made of these parts, in this order, has the MD5 {actual}, but 'md5' says {asked.lower()}. "
            "Check the order of 'part_ids', or send the parts again.",
            param="md5",
            code="invalid_value",
        )


def _wrong_parts(message: str, code: str = "invalid_value") -> InvalidRequest:
    return InvalidRequest(message, param="part_ids", code=code)
