"""What the data gate costs: rows a second beside tokenising alone, and memory a row."""

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource, CheckSpec
from trainer.dataset import tokenize_in_batches
from trainer.tokenizer import load_chat_tokenizer

_DEMO = Path(__file__).resolve().parents[1] / "examples" / "demo_model"
_N_ROWS = 20_000
_WORDS_OF_A_ROW = 140  # about 1 kB
_MEASURE = """
import resource, sys
from pathlib import Path
from trainer.check import look_through
from trainer.contract.run_directory import RunDirectory
from trainer.tokenizer import load_chat_tokenizer
run = RunDirectory(Path(sys.argv[1]))
spec = run.read_check_spec()
look_through(run, spec, load_chat_tokenizer(spec.base_model))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        small, large = (_make_run(Path(directory) / str(n), n) for n in (_N_ROWS // 4, _N_ROWS))
        tokenising_s = min(_tokenise_s(large) for _ in range(2))
        (_, small_bytes), *checks = [_check(small), _check(large), _check(large)]
        whole_s, large_bytes = min(checks)
        print(f"rows: {_N_ROWS:,} of {large.training_file.stat().st_size / _N_ROWS:.0f} bytes")
        print(f"tokenising alone {_N_ROWS / tokenising_s:,.0f} rows/s, with the gate {_N_ROWS / whole_s:,.0f} rows/s")
        print(f"the gate costs {(whole_s - tokenising_s) / tokenising_s:.2f} of what tokenising costs (aim: at most 1)")
        growth = (large_bytes - small_bytes) / (_N_ROWS * 3 / 4)
        print(f"peak of memory: {growth:.0f} bytes a row more, from {_N_ROWS // 4:,} to {_N_ROWS:,} rows")


def _make_run(root: Path, n_rows: int) -> RunDirectory:
    root.mkdir()
    run = RunDirectory(root)
    with run.training_file.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in _rows(n_rows))
    run.write_check_spec(
        CheckSpec(job_id="bench", base_model=BaseModelSource(source=str(_DEMO)), context_length_tokens=512, pii="warn")
    )
    return run


def _rows(n_rows: int) -> Iterator[dict[str, object]]:
    r = random.Random(1)
    words = ["".join(r.choices("abcdefghijklmnopqrstuvwxyz", k=r.randint(2, 9))) for _ in range(5000)]
    for number in range(n_rows):
        text = " ".join(r.choices(words, k=_WORDS_OF_A_ROW))
        prompt, answer = f"Order {number} of 12.03.2025: {text[: len(text) // 2]}", text[len(text) // 2 :]
        yield {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


def _tokenise_s(run: RunDirectory) -> float:
    tokenizer = load_chat_tokenizer(run.read_check_spec().base_model)
    begun = time.process_time()
    for _ in tokenize_in_batches(run.training_file, tokenizer, "training"):
        pass
    return time.process_time() - begun


def _check(run: RunDirectory) -> tuple[float, int]:
    """CPU seconds of reading, tokenising and checking, and the peak of memory of a process that does so."""
    from trainer.check import look_through

    spec = run.read_check_spec()
    tokenizer = load_chat_tokenizer(spec.base_model)
    begun = time.process_time()
    look_through(run, spec, tokenizer)
    took_s = time.process_time() - begun
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(run.root)], check=True, capture_output=True, text=True, timeout=600
    )
    return took_s, int(done.stdout)
