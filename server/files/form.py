"""A multipart form with one field that may be large: taken apart as it comes in, its bytes handed on at once."""

import logging
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from server.errors import ApiError, InvalidRequest, PayloadTooLarge

_MAX_FIELDS_BYTES = 64 * 1024  # everything but the large field: headers, names and values
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_EXTENDED_FILENAME = re.compile(r";\s*filename\*\s*=\s*(utf-8|iso-8859-1)'[^';]*'([^;\s]+)", re.IGNORECASE)

logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # its warnings quote the body; we answer instead


@dataclass(frozen=True)
class LargeField:
    """The field whose bytes are handed on instead of being kept."""

    name: str
    max_bytes: int
    write: Callable[[memoryview], None]  # the view is valid during the call
    too_large: Callable[[], ApiError]
    is_file: bool = True  # it must come with a filename, as files do


@dataclass
class _Part:
    headers: dict[str, bytes] = field(default_factory=dict)
    header_name: bytes = b""
    header_value: bytes = b""
    name: str = ""
    value: bytes = b""
    is_large: bool = False


class MultipartForm:
    """Feed it the body, then ask `check_whole`; after that it has the filename and the values of the other fields."""

    def __init__(self, content_type: str, large: LargeField, *, others: Collection[str] = ()) -> None:
        """Raises: InvalidRequest: this is no multipart form."""
        self.values: dict[str, str] = {}
        self.filename: str | None = None  # as it was sent
        self.received_bytes: int | None = None  # of the large field; None: it has not come
        self._large = large
        self._others = others
        self._fields_bytes = 0
        self._part = _Part()
        self._ended = False
        self._parser = self._make_parser(content_type)

    def feed(self, chunks: Sequence[bytes]) -> None:
        """Raises: InvalidRequest, PayloadTooLarge, and what `write` raises."""
        try:
            for chunk in chunks:
                self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidRequest("The multipart body of your request is malformed.") from error

    def check_whole(self) -> None:
        """Raises: InvalidRequest: the form broke off, or lacks the large field."""
        if not self._ended:
            raise InvalidRequest("The multipart body of your request ends before its last boundary.")
        if self.received_bytes is None:
            raise missing(self._large.name)

    def _make_parser(self, content_type: str) -> MultipartParser:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
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
        if kind == b"multipart/form-data" and boundary:
            try:
                return MultipartParser(boundary, callbacks)  # type: ignore[arg-type]  # a TypedDict of these
            except FormParserError:  # a boundary that is too long
                pass
        raise InvalidRequest("Invalid content type: a file is uploaded as multipart/form-data with a boundary.")

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
        name, filename = _read_disposition(self._part.headers.get("content-disposition", b""))
        self._part.name = name
        if name == self._large.name:
            self._begin_large(filename)
        elif name not in self._others:
            raise InvalidRequest(f"Unknown parameter: '{name[:64]}'.", param=name[:64], code="unknown_parameter")
        elif filename is not None:
            raise InvalidRequest(
                f"Invalid type for '{name}': expected a string, but got a file instead.",
                param=name,
                code="invalid_type",
            )

    def _begin_large(self, filename: str | None) -> None:
        name = self._large.name
        if filename is None and self._large.is_file:
            raise InvalidRequest(
                f"Invalid type for '{name}': expected a file, but got a string instead. "
                f"Send it as a part with a filename, like curl's -F {name}=@training.jsonl.",
                param=name,
                code="invalid_type",
            )
        if self.received_bytes is not None:
            raise InvalidRequest(f"More than one '{name}' was sent; upload them one by one.", param=name)
        self.filename = filename
        self.received_bytes = 0
        self._part.is_large = True

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if not self._part.is_large:
            self._count(end - start)
            self._part.value += data[start:end]
            return
        self.received_bytes = (self.received_bytes or 0) + end - start
        if self.received_bytes > self._large.max_bytes:
            raise self._large.too_large()
        self._large.write(memoryview(data)[start:end])

    def _on_part_end(self) -> None:
        if not self._part.is_large:
            self.values[self._part.name] = self._part.value.decode("utf-8", errors="replace")

    def _on_end(self) -> None:
        self._ended = True

    def _count(self, size_bytes: int) -> None:
        self._fields_bytes += size_bytes
        if self._fields_bytes > _MAX_FIELDS_BYTES:
            raise PayloadTooLarge(f"The fields beside '{self._large.name}' are too large.")


def missing(param: str) -> InvalidRequest:
    return InvalidRequest(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def _read_disposition(header: bytes) -> tuple[str, str | None]:
    """The field's name, and the filename if there is one."""
    _, options = parse_options_header(header)
    filename = options.get(b"filename")
    name = options.get(b"name", b"").decode("utf-8", errors="replace")
    extended = _EXTENDED_FILENAME.search(_QUOTED.sub('""', header.decode("latin-1")))  # RFC 5987, of older clients
    if extended is not None:
        return name, unquote(extended[2], encoding=extended[1], errors="replace")
    return name, None if filename is None else filename.decode("utf-8", errors="replace")
