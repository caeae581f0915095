"""What the data gate costs: examples a second beside tokenising alone, and memory an example."""

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from trainer.check import look_through
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource, CheckSpec
from trainer.tokenising import tokenize_in_batches
from trainer.tokenizer import load_chat_tokenizer

_DEMO = Path(__file__).resolve().parents[1] / "examples" / "demo_model"
_N_EXAMPLES = 20_000
_WORDS = 140  # about 1 kB
_MEASURE = """
import sys, tempfile
from itertools import islice
from pathlib import Path
import numpy as np
from trainer.contract.examples import read_examples
from trainer.contract.formats.names import FileFormat
from trainer.gate.gate import Gate
from trainer.gate.view import View
ids, mask = np.arange(8, dtype=np.int32), np.ones(8, dtype=np.bool_)
examples = read_examples(Path(sys.argv[1]))
with tempfile.TemporaryDirectory() as scratch:
    gate = Gate(Path(scratch), stop_ids=[7], limit_tokens=512)
    while batch := list(islice(examples, 256)):
        gate.add("training", [View(example, ids, mask, 512) for example in batch])
    gate.findings()
    gate.report("training", FileFormat.CHAT)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(1024 * int(status["VmHWM"].split()[0]))
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        run = _make_run(Path(directory) / "timed", _N_EXAMPLES)
        triples = [(_tokenise_s(run), _check_s(run, anew=True), _check_s(run, anew=False)) for _ in range(2)]
        tokenising_s, whole_s, again_s = (min(column) for column in zip(*triples, strict=True))
        few, many = (_peak_bytes(_make_run(Path(directory) / str(n), n)) for n in (_N_EXAMPLES, 3 * _N_EXAMPLES))
        example_bytes = run.training_file.stat().st_size / _N_EXAMPLES
    print(f"examples: {_N_EXAMPLES:,} of {example_bytes:.0f} bytes, CPU time of one process")
    alone, together = _N_EXAMPLES / tokenising_s, _N_EXAMPLES / whole_s
    print(f"tokenising alone {alone:,.0f} examples/s, with the gate {together:,.0f} examples/s")
    print(f"the gate costs {(whole_s - tokenising_s) / tokenising_s:.2f} of what tokenising costs (aim: at most 1)")
    print(f"a check that finds the tokens of an earlier one: {_N_EXAMPLES / again_s:,.0f} examples/s")
    growth = (many - few) / (2 * _N_EXAMPLES)
    print(
        f"peak of memory, mapped files included: {growth:.0f} bytes an example, {few / 1e6:.0f} MB at {_N_EXAMPLES:,}"
    )


def _make_run(root: Path, n_examples: int) -> RunDirectory:
    root.mkdir()
    run = RunDirectory(root)
    with run.training_file.open("w") as file:
        file.writelines(json.dumps(line) + "\n" for line in _examples(n_examples))
    run.write_check_spec(
        CheckSpec(job_id="bench", base_model=BaseModelSource(source=str(_DEMO)), context_length_tokens=512, pii="warn")
    )
    return run


def _examples(n_examples: int) -> Iterator[dict[str, object]]:
    r = random.Random(1)
    words = ["".join(r.choices("abcdefghijklmnopqrstuvwxyz", k=r.randint(2, 9))) for _ in range(5000)]
    for number in range(n_examples):
        text = " ".join(r.choices(words, k=_WORDS))
        prompt, answer = f"Order {number} of 12.03.2025: {text[: len(text) // 2]}", text[len(text) // 2 :]
        yield {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


def _tokenise_s(run: RunDirectory) -> float:
    tokenizer = load_chat_tokenizer(run.read_check_spec().base_model)
    begun = time.process_time()
    for _ in tokenize_in_batches(run.training_file, tokenizer, "training"):
        pass
    return time.process_time() - begun


def _check_s(run: RunDirectory, *, anew: bool) -> float:
    if anew:
        shutil.rmtree(run.tokens(run.training_file), ignore_errors=True)
    spec = run.read_check_spec()
    tokenizer = load_chat_tokenizer(spec.base_model)
    begun = time.process_time()
    look_through(run, spec, tokenizer)
    return time.process_time() - begun


def _peak_bytes(run: RunDirectory) -> int:
    """Of a process that does all but tokenise: a tokenizer keeps the words it has seen, which would hide the gate."""
    command = [sys.executable, "-c", _MEASURE, str(run.training_file)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=900).stdout)
