"""What a batch costs clients beside it, and how it does alone: the whole service with the demo model."""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import openai
import orjson

from benchmarks.load import load
from server.settings import load_settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from local_server import local_server

_MODEL = "tunesmith-demo"
_AT_ONCE = 16
_ALONE, _BESIDE = 320, 4000  # requests of a batch
_ASKED, _PAUSE_S = 40, 0.1
_MAX_TOKENS = 32


def main() -> None:
    os.environ["TUNESMITH_BATCH_REQUESTS"] = str(_AT_ONCE)
    with tempfile.TemporaryDirectory(prefix="ts-") as directory:
        home = Path(directory) / "home"
        with local_server(home) as (url, key), openai.OpenAI(base_url=url, api_key=key) as client:
            _first_tokens(client)
            _throughput(client, load_settings({"TUNESMITH_HOME": str(home)}).engine_socket(0))
            _beside(client)


def _throughput(client: openai.OpenAI, engine: Path) -> None:
    direct_s, batch_s = [], []
    for round_number in range(3):
        direct = [_http(_body(f"{round_number}, {number}, at the engine")) for number in range(_ALONE)]
        direct_s.append(load(engine, direct, _AT_ONCE).taken_s)
        began = time.perf_counter()
        batch = _create(client, f"{round_number}, in a batch", _ALONE)
        while batch.status != "completed":
            time.sleep(0.1)
            batch = client.batches.retrieve(batch.id)
        assert batch.request_counts is not None
        if batch.request_counts.completed != _ALONE:
            raise RuntimeError("a request of the batch was refused")
        batch_s.append(time.perf_counter() - began)
    theirs, ours = min(direct_s), min(batch_s)
    print(
        f"a batch of {_ALONE}, {_AT_ONCE} at once, from its upload to its files / the engine itself: "
        f"{ours / theirs:.2f}x ({_ALONE / ours:.1f} / {_ALONE / theirs:.1f} a second)"
    )


def _beside(client: openai.OpenAI) -> None:
    alone = _first_tokens(client)
    batch = _create(client, "beside clients", _BESIDE)
    while not (found := client.batches.retrieve(batch.id).request_counts) or not found.completed:
        time.sleep(0.1)
    _first_tokens(client)  # what was answered when the first client came ends first
    beside, before = _first_tokens(client), found.completed
    now = client.batches.retrieve(batch.id)
    if now.status != "in_progress" or now.request_counts is None:
        raise RuntimeError("the batch ended too soon")
    for name, of in (("median", statistics.median), ("worst of 40", max)):
        print(
            f"first token of a client beside a batch / alone, {name}: {of(beside) / of(alone):.2f}x "
            f"({of(beside) * 1e3:.1f} / {of(alone) * 1e3:.1f} ms)"
        )
    print(f"meanwhile the batch went on by {now.request_counts.completed - before} requests")
    client.batches.cancel(batch.id)


def _create(client: openai.OpenAI, what: str, n: int) -> openai.types.Batch:
    lines = [
        {"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": _body(f"{what}, {number}")}
        for number in range(n)
    ]
    file = client.files.create(file=("batch.jsonl", b"\n".join(map(orjson.dumps, lines))), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")


def _body(text: str) -> dict[str, object]:
    messages = [{"role": "user", "content": f"Tell me something about number {text}."}]
    return {"model": _MODEL, "messages": messages, "max_tokens": _MAX_TOKENS}


def _http(body: dict[str, object]) -> bytes:
    raw = orjson.dumps(body)
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(raw), raw)
    )


def _first_tokens(client: openai.OpenAI) -> list[float]:
    times = []
    for number in range(_ASKED):
        began = time.perf_counter()
        stream = client.chat.completions.create(
            model=_MODEL,
            messages=[{"role": "user", "content": f"Say something about number {number}."}],
            max_tokens=4,
            stream=True,
        )
        next(iter(stream))
        times.append(time.perf_counter() - began)
        stream.close()
        time.sleep(_PAUSE_S)
    return times
