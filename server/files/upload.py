"""What the form of a file's upload says."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from server.errors import InvalidRequest, PayloadTooLarge
from server.files.expiry import ExpiresAfter, parse_expires_after
from server.files.form import LargeField, MultipartForm, missing
from server.vocabulary import UPLOAD_PURPOSES, FilePurpose

_FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class UploadRequest:
    """What is said about the file."""

    filename: str  # a label: no path, never used as one
    purpose: FilePurpose
    expires_after: ExpiresAfter | None


class UploadForm:
    """Feed it the body; it hands the file's bytes to `write_file`, and tells the rest at `finish`."""

    def __init__(self, content_type: str, *, max_file_bytes: int, write_file: Callable[[memoryview], None]) -> None:
        """Raises: InvalidRequest: this is no multipart form."""
        file = LargeField("file", max_file_bytes, write_file, lambda: too_large(max_file_bytes))
        self._form = MultipartForm(content_type, file, others=_FIELDS)

    def feed(self, chunks: Sequence[bytes]) -> None:
        """Raises: InvalidRequest, PayloadTooLarge, and what `write_file` raises."""
        self._form.feed(chunks)

    def finish(self) -> UploadRequest:
        """Raises: InvalidRequest: the form is not whole, or says something that cannot be."""
        form = self._form
        form.check_whole()
        purpose = _purpose(form.values.get("purpose"))
        if not form.received_bytes:
            raise InvalidRequest("The file is empty. Upload a file with at least one byte.", param="file")
        expires_after = parse_expires_after(
            form.values.get("expires_after[anchor]"), form.values.get("expires_after[seconds]")
        )
        return UploadRequest(label_of(form.filename or ""), purpose, expires_after)


def label_of(filename: str) -> str:
    """The last part of a path in anybody's notation, without control characters, at most 255 long."""
    last = _CONTROL.sub("", filename.replace("\\", "/")).rsplit("/", 1)[-1].strip()
    return last[:255] or "upload"


def too_large(max_file_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The file is too large: at most {max_file_bytes} bytes ({max_file_bytes / 1024**2:.0f} MiB) are accepted in "
        "one request. Send a larger file in parts, by POST /v1/uploads. TUNESMITH_MAX_FILE_BYTES sets this.",
        param="file",
    )


def _purpose(value: str | None) -> FilePurpose:
    if value is None:
        raise missing("purpose")
    if value not in UPLOAD_PURPOSES:
        supported = ", ".join(f"'{purpose}'" for purpose in UPLOAD_PURPOSES)
        raise InvalidRequest(
            f"Invalid value: '{value[:64]}'. Supported values are: {supported}.", param="purpose", code="invalid_value"
        )
    return FilePurpose(value)
