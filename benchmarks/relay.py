"""What the relay costs beside a bare one and beside LiteLLM's proxy, before the same mock engine."""

import statistics
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Target, load
from benchmarks.relays import bare, ours
from benchmarks.served import Served

_CONNECTIONS = 16
_REQUESTS, _STREAMS = 4000, 144
_AT_ONCE = 48  # streams
_ROUNDS = 5

Start = Callable[[Path], AbstractContextManager[tuple[Served, Target]]]


@dataclass(frozen=True)
class Cost:
    cpu_per_request_s: float
    requests_per_s: float
    first_byte_s: float  # of a whole answer, one client alone
    cpu_per_chunk_s: float  # of a stream, its requests included


def main(rounds: int = _ROUNDS) -> None:
    starts: dict[str, Start] = {"ours": ours, "the bare relay": bare}
    with ExitStack() as stack:
        relays = {}
        for name, start in starts.items():
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ts-")))
            relays[name] = stack.enter_context(start(home))
        measured: dict[str, list[Cost]] = {name: [] for name in relays}
        for _ in range(rounds):
            for name, (served, target) in relays.items():
                measured[name].append(_measure(served, target))
    medians = {name: _median(costs) for name, costs in measured.items()}
    for name, cost in medians.items():
        print(
            f"{name}: {cost.cpu_per_request_s * 1e6:.0f} us of CPU a request, {cost.cpu_per_chunk_s * 1e6:.1f} us "
            f"a streamed chunk, {cost.requests_per_s:.0f} requests/s, first byte after {cost.first_byte_s * 1e6:.0f} us"
        )


def _measure(served: Served, target: Target) -> Cost:
    requests = [target.request(stream=False)] * _REQUESTS
    load(target.port, requests[: _REQUESTS // 10], _CONNECTIONS)
    before = served.cpu_s()
    whole = load(target.port, requests, _CONNECTIONS)
    between = served.cpu_s()
    streamed = load(target.port, [target.request(stream=True)] * _STREAMS, _AT_ONCE)
    after = served.cpu_s()
    alone = load(target.port, requests[:200], 1)
    return Cost(
        cpu_per_request_s=(between - before) / _REQUESTS,
        requests_per_s=_REQUESTS / whole.taken_s,
        first_byte_s=statistics.median(alone.first_bytes_s),
        cpu_per_chunk_s=(after - between) / streamed.events,
    )


def _median(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(values) for values in zip(*(vars(cost).values() for cost in costs), strict=True)))
