"""A very large file as the part of it that is looked at."""

from pathlib import Path

import pytest

from server.fine_tuning.dry_runs.sampling import Portion, write_sample
from trainer.contract.invalid import ExampleInvalid
from trainer.contract.lines import numbered_lines

PORTION = Portion(whole_up_to_bytes=0, head_bytes=100, spread_bytes=100)


def lines(n: int) -> list[bytes]:
    return [f'{{"line": {number:02}}}\n'.encode() for number in range(1, n + 1)]  # 13 bytes each, with the newline


def test_the_beginning_and_lines_spread_over_the_rest_keep_their_numbers(tmp_path: Path) -> None:
    content = lines(99)
    sampling = write_sample(content, tmp_path / "sample", file_bytes=13 * 99, portion=PORTION)

    kept = list(numbered_lines(tmp_path / "sample"))
    assert all(line == content[number - 1].strip() for number, line in kept)
    numbers = [number for number, _ in kept]
    assert numbers[:8] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert numbers[8:] == [12, 24, 36, 48, 60, 72, 84, 96]
    assert (sampling.rows, sampling.rows_looked_at) == (99, 16)
    assert sampling.scale == pytest.approx(99 / 16)


def test_blank_lines_are_no_rows_and_count_for_numbers(tmp_path: Path) -> None:
    content = [b"\n\n", *lines(3), b"  \n", b"{}"]
    sampling = write_sample(content, tmp_path / "sample", file_bytes=50, portion=PORTION)
    assert [number for number, _ in numbered_lines(tmp_path / "sample")] == [3, 4, 5, 7]
    assert (sampling.rows, sampling.rows_looked_at, sampling.scale) == (4, 4, 1.0)


def test_a_sample_is_bounded_however_large_the_file(tmp_path: Path) -> None:
    size = 13 * 90_000
    write_sample(iter(lines(90_000)), tmp_path / "sample", file_bytes=size, portion=PORTION)
    taken = sum(len(line) for _, line in numbered_lines(tmp_path / "sample"))
    assert taken <= PORTION.head_bytes + PORTION.spread_bytes + 2 * 13


def test_an_endless_line_is_refused_and_not_held(tmp_path: Path) -> None:
    chunks = (b"x" * 1024**2 for _ in range(1000))
    with pytest.raises(ExampleInvalid, match="longer than 8 MiB"):
        write_sample(chunks, tmp_path / "sample", file_bytes=1024**3, portion=PORTION)
