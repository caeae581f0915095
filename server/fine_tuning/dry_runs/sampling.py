"""A very large data file as the part of it that an estimate looks at."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from server.fine_tuning.estimates.estimate import Sampling
from trainer.contract.lines import numbered_lines


@dataclass(frozen=True)
class Portion:
    """How much of a file is looked at: all of a small one, else its beginning and lines evenly spread over the rest."""

    whole_up_to_bytes: int = 16 * 1024**2
    head_bytes: int = 4 * 1024**2
    spread_bytes: int = 4 * 1024**2

    def stride(self, file_bytes: int) -> int:
        """After the head, each how many-th line is taken."""
        return max(1, math.ceil((file_bytes - self.head_bytes) / self.spread_bytes))


def write_sample(chunks: Iterable[bytes], destination: Path, *, file_bytes: int, portion: Portion) -> Sampling:
    """Write the lines that are looked at; an empty line stands for each other one, so that line numbers hold.

    Memory is bounded by one line.

    Raises:
        ExampleInvalid: a line is too long, or the file is UTF-16.
    """
    rows = taken = bytes_seen = bytes_taken = 0
    stride, next_number = portion.stride(file_bytes), 1
    with destination.open("wb") as file:
        for number, line in numbered_lines(chunks):
            rows += 1
            bytes_seen += len(line)
            if bytes_seen > portion.head_bytes and rows % stride:
                continue
            file.write(b"\n" * (number - next_number) + line + b"\n")
            next_number = number + 1
            taken += 1
            bytes_taken += len(line)
    growth, scale = rows / max(1, taken), bytes_seen / max(1, bytes_taken)
    return Sampling(rows_looked_at=taken, rows=rows, growth=growth, scale=scale)
