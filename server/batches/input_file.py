"""A batch's input file, read line by line: where each request stands, which model it asks, and all that is wrong."""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from server.batches.input_lines import MOST_LINES, InputLine, LineFault, read_line

_MOST_FAULTS = 100  # that are shown; the rest of the file is not read for more
_BOM = b"\xef\xbb\xbf"
_AROUND_BODY = 64 * 1024  # bytes of a line besides its body


@dataclass(frozen=True)
class Fault:
    """OpenAI: BatchError."""

    code: str
    message: str
    param: str | None
    line: int | None  # from 1


@dataclass
class InputIndex:
    """Where the requests of a file stand, in 14 bytes each; what they say is read when it is their turn."""

    offsets: "array[int]" = field(default_factory=lambda: array("Q"))
    lengths: "array[int]" = field(default_factory=lambda: array("I"))
    models: "array[int]" = field(default_factory=lambda: array("H"))  # places in `names`
    names: list[str] = field(default_factory=list)  # of the models, as asked, in the order of their first request

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, file: BinaryIO, request: int, endpoint: str) -> InputLine:
        """Read one request of a file that was found right."""
        file.seek(self.offsets[request])
        line = read_line(file.read(self.lengths[request]), endpoint)
        if not isinstance(line, InputLine):
            raise ValueError("the input of the batch has changed")
        return line


def index_input(
    path: Path, endpoint: str, *, most_body_bytes: int, is_model: Callable[[str], bool] = lambda _: True
) -> InputIndex | list[Fault]:
    """Look through a file; its faults are those of the first lines that have any. Empty lines are passed over."""
    index, faults = InputIndex(), list[Fault]()
    seen: set[bytes] = set()
    places: dict[str, int] = {}
    most = most_body_bytes + _AROUND_BODY
    for number, offset, raw in _lines(path, most):
        if len(index) == MOST_LINES:
            return [Fault("too_many_requests", f"A batch has at most {MOST_LINES} requests.", None, number)]
        if len(faults) == _MOST_FAULTS:
            return faults
        line = _too_long(most) if raw is None else read_line(raw, endpoint)
        if isinstance(line, InputLine):
            line = _refuse_known(line, seen) or _refuse_unknown_model(line, places, is_model) or line
        if isinstance(line, LineFault):
            faults.append(Fault(*line, line=number))
            continue
        index.offsets.append(offset)
        index.lengths.append(len(raw or b""))
        index.models.append(places[line.model])
    index.names = list(places)
    if not faults and not len(index):
        return [Fault("empty_file", "The input file is empty. It needs at least one request.", None, None)]
    return faults or index


def _lines(path: Path, most: int) -> Iterator[tuple[int, int, bytes | None]]:
    """Number, place and content of each line that has any; None for one that is too long."""
    with path.open("rb") as file:
        offset = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
        file.seek(offset)
        number = 0
        while raw := file.readline(most):
            number += 1
            length, is_whole = len(raw), len(raw) < most or raw.endswith(b"\n")
            if is_whole and raw.strip():
                yield number, offset, raw
            elif not is_whole:
                yield number, offset, None
            while not is_whole and (rest := file.readline(most)):
                length += len(rest)
                is_whole = rest.endswith(b"\n")
            offset += length


def _refuse_known(line: InputLine, seen: set[bytes]) -> LineFault | None:
    """By a digest: the ids themselves could be all of the file."""
    digest = blake2b(line.custom_id.encode("utf-8", errors="surrogatepass"), digest_size=16).digest()
    if digest in seen:
        message = "The custom_id of this request is that of an earlier one. Each has to be unique in the file."
        return LineFault("duplicate_custom_id", message, "custom_id")
    seen.add(digest)
    return None


def _refuse_unknown_model(line: InputLine, places: dict[str, int], is_model: Callable[[str], bool]) -> LineFault | None:
    if line.model not in places:
        if not is_model(line.model):
            message = "The model of this request does not exist, or the project does not have access to it."
            return LineFault("model_not_found", message, "body.model")
        places[line.model] = len(places)
    return None


def _too_long(most: int) -> LineFault:
    return LineFault("line_too_long", f"A line has at most {most} bytes.")
