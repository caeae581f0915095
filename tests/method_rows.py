"""The rows of the table in docs/methods.md: each is written by the tests that show what it says.

A test is given `keep_row`; with `--method-rows DIR` only such tests are run, what they say is kept there, and
`python -m tests.methods_page DIR` writes the page from it (`make methods`). Without the option nothing is kept.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from trainer.contract.formats.names import OF_METHOD

# what can be trained: each with the supervised method; with every method a plain LoRA of all layers, and all weights
ADAPTERS = ("lora", "rslora", "dora", "pissa", "q,v", "q,k,v,o", "7 modules", "full")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "methods.md"
BEGIN, END = "<!-- rows: begin -->", "<!-- rows: end -->"
KeepRow = Callable[..., None]


@dataclass(frozen=True)
class MethodRow:
    """What tests have shown of a method with a kind of adapter, in the order of the page's columns."""

    method: str
    adapter: str
    trains: str = ""
    first_step_loss: str = ""  # against the library's own
    effect: str = ""
    served: str = ""
    log_probability_error: str = ""  # of the engine, against the reference on the serving base


HEADINGS = (
    "method",
    "adapter",
    "trains",
    "first step's loss, against the library's",
    "effect on held-out examples",
    "served",
    "log-probability error of the engine",
)


def offered() -> set[tuple[str, str]]:
    """Every method, and every kind of adapter."""
    of_every_method = {(method, adapter) for method in OF_METHOD for adapter in ("lora", "full")}
    return of_every_method | {("supervised", adapter) for adapter in ADAPTERS}


def keep(directory: Path | None, method: str, adapter: str, **cells: str) -> None:
    """Add what one test has shown to the row; another may know the other cells."""
    row = asdict(MethodRow(method, adapter, **cells))
    if directory is None:
        return
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{method}-{adapter}.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | {name: cell for name, cell in row.items() if cell}, indent=1) + "\n")


def read_rows(directory: Path) -> list[MethodRow]:
    return [MethodRow(**json.loads(path.read_text())) for path in sorted(directory.glob("*.json"))]


def table(rows: list[MethodRow]) -> str:
    """In the order in which the code offers them."""
    order = {pair: place for place, pair in enumerate((m, a) for m in OF_METHOD for a in ADAPTERS)}
    known = sorted(rows, key=lambda row: order.get((row.method, row.adapter), len(order)))
    lines = [HEADINGS, ("---",) * len(HEADINGS)]
    lines += [tuple(getattr(row, field.name) or "-" for field in fields(MethodRow)) for row in known]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def rows_of_page(page: str) -> set[tuple[str, str]]:
    """The method and the adapter of each row of the page."""
    body = page.split(BEGIN)[1].split(END)[0].strip().splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in body]
    return {(row[0], row[1]) for row in cells}
