"""All faults of a file: counted to its end, the first ones kept, in memory that does not grow."""

import tracemalloc
from collections.abc import Iterator

import pytest
from format_rows import GOOD_ROWS, json_lines

from trainer.contract.examples import read_examples
from trainer.contract.faults import find_faults
from trainer.contract.formats.names import FileFormat
from trainer.contract.lines import MAX_LINE_BYTES

LINE = json_lines(GOOD_ROWS[FileFormat.CHAT][:1])
BAD = b'{"messages": []}\n'


@pytest.mark.parametrize(
    ("n_bad", "limit", "end"),
    [
        (1, 10, 'Line 2, key "messages": There must be a list of at least one message.'),
        (2, 10, "1 more line is wrong: 3."),
        (5, 10, "4 more lines are wrong: 3, 4, 5, 6."),
        (5, 3, "4 more lines are wrong: 3, 4 and 2 more."),
        (5, 1, "4 more lines are wrong."),
    ],
)
def test_the_message_names_the_first_fault_and_the_other_lines(n_bad: int, limit: int, end: str) -> None:
    found = find_faults([LINE + BAD * n_bad + LINE], limit)
    assert (found.n_examples, found.n_faults, len(found.faults)) == (n_bad + 2, n_bad, min(n_bad, limit))
    assert found.job_message().startswith("The job failed due to an invalid training file. Invalid file format. Line 2")
    assert found.job_message().endswith(end)
    assert "invalid validation file" in found.job_message("validation")


def test_the_format_is_that_of_the_first_line_that_says_it() -> None:
    found = find_faults([b"zebra\n" + b"5\n" + LINE + BAD], 10)
    assert found.format == FileFormat.CHAT
    assert [fault.line for fault in found.faults] == [1, 2, 4]


def test_a_first_line_of_no_format_is_the_only_fault() -> None:
    found = find_faults([b'{"zebra": 1}\n' + LINE], 10)
    assert [(fault.line, fault.field) for fault in found.faults] == [(1, "messages")]
    assert str(found.faults[0]).startswith("Unexpected file format, expected either prompt/completion pairs or chat")


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_where_the_chunks_are_cut_changes_nothing(size: int) -> None:
    data = b"\n" + LINE * 3 + BAD + b"\r\n" + LINE.replace(b"\n", b"\r\n") * 2 + BAD.rstrip()
    found = find_faults((data[i : i + size] for i in range(0, len(data), size)), 10)
    assert found == find_faults([data], 10) or str(found.faults) == str(find_faults([data], 10).faults)
    assert (found.n_examples, [fault.line for fault in found.faults]) == (7, [5, 9])


def test_a_line_that_is_too_long_ends_the_search() -> None:
    long = b'{"messages": "' + b"a" * MAX_LINE_BYTES + b'"}\n'
    for source in ([LINE + BAD, long, LINE], [LINE, BAD, long[:1000], long[1000:], LINE]):
        found = find_faults(source, 10)
        assert [fault.line for fault in found.faults] == [2, 3]
        assert "longer than 8 MiB" in str(found.faults[-1])


def test_memory_does_not_grow_with_the_file() -> None:
    def chunks(n: int) -> Iterator[bytes]:
        for _ in range(n):
            yield LINE * 20 + BAD

    def peak_bytes(n: int) -> int:
        tracemalloc.start()
        found = find_faults(chunks(n), 10)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (found.n_examples, found.n_faults) == (21 * n, n)
        return peak

    assert peak_bytes(20)  # whatever is made once
    least = {n: min(peak_bytes(n) for _ in range(3)) for n in (100, 1000)}  # other threads take some, too
    assert least[1000] < least[100] + 10_000


def test_what_finds_no_fault_can_be_read() -> None:
    for held in (FileFormat.CHAT, FileFormat.ALPACA):
        data = json_lines(GOOD_ROWS[held])
        assert find_faults([data], 10).n_examples == len(list(read_examples([data])))
