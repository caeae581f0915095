"""Every fault of a data file, not only the first: whether a job can train on it, before anything is tokenised."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trainer.contract.examples import EMPTY
from trainer.contract.formats.names import FileFormat
from trainer.contract.formats.rows import choose_format, placed, read_row
from trainer.contract.invalid import ExampleInvalid, FieldInvalid, FileInvalid
from trainer.contract.lines import line_blocks
from trainer.contract.quick import REFUSALS, Judge, judge_of, unsure
from trainer.contract.row_objects import read_object
from trainer.contract.spec import MethodName


@dataclass
class FileFaults:
    """What was found in a file; it can be trained on if there are no faults."""

    format: FileFormat | None  # None: no line said
    n_examples: int  # lines that are not blank, valid or not
    n_faults: int  # at most one of a line
    faults: list[ExampleInvalid]  # the first of them

    def job_message(self, kind: str = "training") -> str:
        """OpenAI's message of a job that fails for the first, and on which lines the others are."""
        message = self.faults[0].job_message(kind)
        more = self.n_faults - 1
        if not more:
            return message
        named = ", ".join(str(fault.line) for fault in self.faults[1:])
        unnamed = self.n_faults - len(self.faults)
        rest = f" and {unnamed} more" if unnamed and named else ""
        lines = f": {named}{rest}" if named else ""
        return f"{message} {more} more {'line is' if more == 1 else 'lines are'} wrong{lines}."


def find_faults(source: Path | Iterable[bytes], limit: int, *, method: MethodName | None = "supervised") -> FileFaults:
    """Read a file to its end and keep its first faults, at most `limit` (1 at least); memory does not grow with it.

    Of a file that is of another kind altogether, or in none of the method's formats, that is the only fault.
    """
    scan = _Scan(limit, method)
    try:
        for first, lines in line_blocks(source):
            scan.read(first, lines)
    except FileInvalid as error:
        scan.add(error)
    if not scan.found.n_examples and not scan.found.faults:
        scan.add(FileInvalid(None, None, EMPTY))
    return scan.found


class _Scan:
    def __init__(self, limit: int, method: MethodName | None) -> None:
        self.found = FileFaults(None, 0, 0, [])
        self._limit = limit
        self._method = method
        self._judge: Judge = unsure

    def add(self, fault: ExampleInvalid) -> None:
        self.found.n_faults += 1
        if len(self.found.faults) < self._limit:
            self.found.faults.append(fault)

    def read(self, first: int, lines: list[bytes]) -> None:
        """Raises FileInvalid, after which nothing else of the file is worth a look."""
        for number, line in enumerate(lines, start=first):
            try:
                if self._judge(line):
                    self.found.n_examples += 1
                    continue
            except REFUSALS:
                pass
            if line := line.strip(b" \t\r\n"):
                self._read_line(number, line)

    def _read_line(self, number: int, line: bytes) -> None:
        found = self.found
        found.n_examples += 1
        try:
            row = read_object(line, number, is_first=found.n_examples == 1)
            if found.format is None:
                found.format = choose_format(row, number, self._method)
                self._judge = judge_of(found.format)
            read_row(row, number, found.format)
        except FieldInvalid as error:
            self.add(placed(error, number, found.n_examples))
        except FileInvalid:
            raise
        except ExampleInvalid as error:
            self.add(error)
