"""The multipart form of an upload, taken apart as it comes in and written once."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from server.errors import InvalidRequest, PayloadTooLarge
from server.files.expiry import ExpiresAfter, parse_expires_after
from server.vocabulary import UPLOAD_PURPOSES, FilePurpose

_MAX_FIELDS_BYTES = 64 * 1024  # everything but the file: headers, names and values
_FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class UploadRequest:
    """What the form says about the file."""

    filename: str  # a label: no path, never used as one
    purpose: FilePurpose
    expires_after: ExpiresAfter | None


@dataclass
class _Part:
    headers: dict[str, bytes] = field(default_factory=dict)
    header_name: bytes = b""
    header_value: bytes = b""
    name: str = ""
    value: bytes = b""
    is_file: bool = False


class UploadForm:
    """Feed it the body; it hands the file's bytes to `write_file`, and tells the rest at `finish`."""

    def __init__(self, content_type: str, *, max_file_bytes: int, write_file: Callable[[bytes], None]) -> None:
        """Raises: InvalidRequest: this is no multipart form."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise InvalidRequest("Invalid content type: a file is uploaded as multipart/form-data with a boundary.")
        self._max_file_bytes = max_file_bytes
        self._write_file = write_file
        self._file_bytes = 0
        self._fields_bytes = 0
        self._filename: str | None = None
        self._values: dict[str, str] = {}
        self._part = _Part()
        self._ended = False
        callbacks = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]  # a TypedDict of these

    def feed(self, chunk: bytes) -> None:
        """Raises: InvalidRequest, PayloadTooLarge, and what `write_file` raises."""
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise InvalidRequest("The multipart body of your request is malformed.") from error

    def finish(self) -> UploadRequest:
        """Raises: InvalidRequest: the form is not whole, or says something that cannot be."""
        if not self._ended:
            raise InvalidRequest("The multipart body of your request ends before its last boundary.")
        if self._filename is None:
            raise _missing("file")
        purpose = _purpose(self._values.get("purpose"))
        if self._file_bytes == 0:
            raise InvalidRequest("The file is empty. Upload a file with at least one byte.", param="file")
        expires_after = parse_expires_after(
            self._values.get("expires_after[anchor]"), self._values.get("expires_after[seconds]")
        )
        return UploadRequest(self._filename, purpose, expires_after)

    def _on_part_begin(self) -> None:
        self._part = _Part()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._part.header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._part.header_value += data[start:end]

    def _on_header_end(self) -> None:
        part = self._part
        part.headers[part.header_name.decode("latin-1").lower()] = part.header_value
        part.header_name = part.header_value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._part.headers.get("content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", errors="replace")
        filename = options.get(b"filename")
        self._part.name = name
        if name == "file":
            self._begin_file(filename)
        elif name not in _FIELDS:
            raise InvalidRequest(f"Unknown parameter: '{name[:64]}'.", param=name[:64], code="unknown_parameter")
        elif filename is not None:
            raise InvalidRequest(
                f"Invalid type for '{name}': expected a string, but got a file instead.",
                param=name,
                code="invalid_type",
            )

    def _begin_file(self, filename: bytes | None) -> None:
        if filename is None:
            raise InvalidRequest(
                "Invalid type for 'file': expected a file, but got a string instead. "
                "Send it as a part with a filename, like curl's -F file=@training.jsonl.",
                param="file",
                code="invalid_type",
            )
        if self._filename is not None:
            raise InvalidRequest("More than one 'file' was sent; upload them one by one.", param="file")
        self._filename = label_of(filename.decode("utf-8", errors="replace"))
        self._part.is_file = True

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._part.is_file:
            self._count(end - start)
            self._part.value += data[start:end]
            return
        self._file_bytes += end - start
        if self._file_bytes > self._max_file_bytes:
            raise too_large(self._max_file_bytes)
        self._write_file(data[start:end])

    def _on_part_end(self) -> None:
        if not self._part.is_file:
            self._values[self._part.name] = self._part.value.decode("utf-8", errors="replace")

    def _on_end(self) -> None:
        self._ended = True

    def _count(self, size_bytes: int) -> None:
        self._fields_bytes += size_bytes
        if self._fields_bytes > _MAX_FIELDS_BYTES:
            raise PayloadTooLarge("The fields beside the file are too large.")


def label_of(filename: str) -> str:
    """The last part of a path in anybody's notation, without control characters, at most 255 long."""
    last = _CONTROL.sub("", filename.replace("\\", "/")).rsplit("/", 1)[-1].strip()
    return last[:255] or "upload"


def too_large(max_file_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The file is too large: at most {max_file_bytes} bytes ({max_file_bytes / 1024**2:.0f} MiB) are accepted. "
        "TUNESMITH_MAX_FILE_BYTES sets this.",
        param="file",
    )


def _missing(param: str) -> InvalidRequest:
    return InvalidRequest(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def _purpose(value: str | None) -> FilePurpose:
    if value is None:
        raise _missing("purpose")
    if value not in UPLOAD_PURPOSES:
        supported = ", ".join(f"'{purpose}'" for purpose in UPLOAD_PURPOSES)
        raise InvalidRequest(
            f"Invalid value: '{value[:64]}'. Supported values are: {supported}.", param="purpose", code="invalid_value"
        )
    return FilePurpose(value)
