"""`python -m trainer screen`: personal data and secrets in chat examples, and the examples without; no tokenizer."""

from collections import Counter
from contextlib import nullcontext

import orjson

from trainer.contract.lines import numbered_lines
from trainer.contract.run_directory import RunDirectory
from trainer.contract.screen import ScreenReport, ScreenSpec
from trainer.pii.match import Kind
from trainer.pii.rows import redact_row


def screen(run_directory: RunDirectory, spec: ScreenSpec) -> ScreenReport:
    """Look through the file a line at a time. What it writes is a line for each line."""
    n_examples = n_found = 0
    n_matches: Counter[Kind] = Counter()
    with run_directory.screened.open("wb") if spec.redacts else nullcontext() as screened:
        for _, line in numbered_lines(run_directory.training_file):
            row, kinds = redact_row(orjson.loads(line))
            n_examples += 1
            n_found += bool(kinds)
            n_matches.update(kinds)
            if screened is not None:
                screened.write((orjson.dumps(row) if kinds else line) + b"\n")
    found = {kind.value: n_matches[kind] for kind in Kind if n_matches[kind]}
    return ScreenReport(n_examples=n_examples, n_found=n_found, n_matches=found)
