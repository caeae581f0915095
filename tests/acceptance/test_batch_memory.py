"""The worker's memory over the largest batch there can be, before a mock of an engine."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from tests.acceptance.test_usage_killed import mock_engine
from tests.api_process import ApiProcess, api_process
from tests.batch_rig import lines
from tests.service import ROOT

FEW, MANY = 500, 50_000
MORE_KIB = 32 * 1024  # for a hundred times as many lines, of which 14 bytes and a few objects each are kept


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_fifty_thousand_lines_take_little_more_memory_than_five_hundred() -> None:
    with api_process() as api, mock_engine(api), worker(api) as pid, api.client(api.address[1]) as client:
        run(client, FEW)
        few = peak_kib(pid)
        began = time.monotonic()
        batch = run(client, MANY)
        many, taken_s = peak_kib(pid), time.monotonic() - began
        print(f"peak of the worker: {few} KiB after {FEW} lines, {many} KiB after {MANY} in {taken_s:.0f} s")  # noqa: T201
        assert batch.output_file_id is not None
        assert len(client.files.content(batch.output_file_id).text.splitlines()) == MANY
    assert many - few < MORE_KIB


@contextmanager
def worker(api: ApiProcess) -> Iterator[int]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TUNESMITH_")}
    process = subprocess.Popen([sys.executable, "-m", "server", "worker"], cwd=ROOT, env=inherited | api.settings)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def run(client: openai.OpenAI, n: int) -> openai.types.Batch:
    file = client.files.create(file=("batch.jsonl", lines(n)), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    deadline = time.monotonic() + 1500
    while batch.status not in ("completed", "failed", "expired", "cancelled"):
        assert time.monotonic() < deadline
        time.sleep(0.5)
        batch = client.batches.retrieve(batch.id)
    counts = batch.request_counts
    assert counts is not None
    assert (batch.status, counts.total, counts.completed, counts.failed) == ("completed", n, n, 0)
    return batch


def peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
