"""What our own work on requests and data costs, as a multiple of the least it could cost."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from server.chat.answer import rewrite_answer
from server.chat.request import read_request
from server.fine_tuning.hyperparameters import BaseModelInfo, DatasetStats, resolve
from server.relay.answers import Naming
from trainer.contract.examples import read_examples

_ROUNDS = 7
_MESSAGES = [
    {"role": "system", "content": "You answer customers of a shop, briefly."},
    {"role": "user", "content": "Where is the parcel that I ordered on Monday? " * 8},
]
_REQUEST = orjson.dumps({"model": "tunesmith-demo", "messages": _MESSAGES, "temperature": 0, "max_tokens": 40})
_ANSWER = orjson.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "tunesmith-demo",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "On its way. " * 20}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 90, "completion_tokens": 40, "total_tokens": 130},
    }
)
_LINE = orjson.dumps({"messages": [*_MESSAGES, {"role": "assistant", "content": "On its way."}]}) + b"\n"
_LINES = [_LINE] * 200


@dataclass(frozen=True)
class Benchmark:
    name: str
    ours: Callable[[], object]
    least: Callable[[], object]  # what could not be left out
    repeats: int  # of each, in one round


BENCHMARKS = (
    Benchmark("check a chat request / parse it", lambda: read_request(_REQUEST), lambda: orjson.loads(_REQUEST), 2000),
    Benchmark(
        "rewrite an answer / parse and write it",
        lambda: rewrite_answer(_ANSWER, Naming(asked="gpt-4o-mini", engine="tunesmith-demo")),
        lambda: orjson.dumps(orjson.loads(_ANSWER)),
        2000,
    ),
    Benchmark(
        "read 200 training examples / parse their JSON",
        lambda: list(read_examples(_LINES)),
        lambda: [orjson.loads(line) for line in _LINES],
        10,
    ),
    Benchmark(
        "resolve hyperparameters / build the two records they come from",
        lambda: resolve({}, DatasetStats(500), BaseModelInfo(4_000_000)),
        lambda: (DatasetStats(500), BaseModelInfo(4_000_000)),
        2000,
    ),
)


def main() -> None:
    print(f"{'':62} {'ratio':>7} {'ours':>10} {'least':>10}")
    for benchmark in BENCHMARKS:
        ours, least = measure(benchmark)
        print(f"{benchmark.name:62} {ours / least:6.1f}x {ours * 1e6:7.1f} µs {least * 1e6:7.1f} µs")


def measure(benchmark: Benchmark) -> tuple[float, float]:
    """The best of several alternating rounds, in seconds a call: whatever disturbs one disturbs both."""
    rounds = [(_time(benchmark.ours, benchmark), _time(benchmark.least, benchmark)) for _ in range(_ROUNDS)]
    return min(ours for ours, _ in rounds), min(least for _, least in rounds)


def _time(act: Callable[[], object], benchmark: Benchmark) -> float:
    started = time.perf_counter()
    for _ in range(benchmark.repeats):
        act()
    return (time.perf_counter() - started) / benchmark.repeats
