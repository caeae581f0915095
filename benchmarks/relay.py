"""What the relay costs beside a bare one and beside LiteLLM's proxy, before the same mock engine."""

import statistics
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.litellm_proxy import NotInstallable, install, litellm
from benchmarks.load import Target, load
from benchmarks.relays import bare, nothing, ours
from benchmarks.served import Served

_CONNECTIONS = 16
_AT_ONCE = 48  # streams
_ROUNDS = 5


@dataclass(frozen=True)
class Contender:
    start: Callable[[Path], AbstractContextManager[tuple[Served, Target]]]
    requests: int = 4000  # of a round; /proc counts CPU in hundredths of a second
    streams: int = 144  # likewise, of about 100 chunks each
    alone: int = 200  # requests one after the other
    per_second: float = 2000.0


@dataclass(frozen=True)
class Cost:
    cpu_per_request_s: float  # as many at once as there are connections
    cpu_at_rate_s: float  # of a request too, at a rate that is the same for all who can hold it
    cpu_per_chunk_s: float  # of a stream, with its part of the stream's request
    requests_per_s: float
    requests_per_cpu_s: float
    first_byte_s: float  # of a whole answer, with no other request about


def main(rounds: int = _ROUNDS) -> None:
    contenders = {"ours": Contender(ours), "bare": Contender(bare), "nothing": Contender(nothing)}
    try:
        install()
        contenders["LiteLLM"] = Contender(litellm, requests=320, streams=16, alone=40, per_second=15.0)
    except NotInstallable as error:
        print(f"relay: without LiteLLM, as {error}")
    costs = _measure_all(contenders, rounds)
    mine, floor, direct = costs["ours"], costs["bare"], costs["nothing"]
    _say("CPU per request", mine.cpu_per_request_s, "a bare relay", floor.cpu_per_request_s)
    _say("CPU per request at the same rate", mine.cpu_at_rate_s, "a bare relay", floor.cpu_at_rate_s)
    _say("CPU per streamed chunk", mine.cpu_per_chunk_s, "a bare relay", floor.cpu_per_chunk_s)
    added = mine.first_byte_s - direct.first_byte_s
    _say("added time to the first byte", added, "a bare relay", floor.first_byte_s - direct.first_byte_s)
    if peer := costs.get("LiteLLM"):
        _say("CPU per request", peer.cpu_per_request_s, "ours", mine.cpu_per_request_s, who="LiteLLM")
        _say("CPU per streamed chunk", peer.cpu_per_chunk_s, "ours", mine.cpu_per_chunk_s, who="LiteLLM")
        _say("added time to the first byte", peer.first_byte_s - direct.first_byte_s, "ours", added, who="LiteLLM")
    for name in costs.keys() - {"nothing"}:
        cost = costs[name]
        print(
            f"relay, {name}: {cost.requests_per_cpu_s:.0f} requests per second of one core, {cost.requests_per_s:.0f}/s"
        )


def _measure_all(contenders: dict[str, Contender], rounds: int) -> dict[str, Cost]:
    """The medians of interleaved rounds."""
    measured: dict[str, list[Cost]] = {name: [] for name in contenders}
    with ExitStack() as stack:
        running = {}
        for name, contender in contenders.items():
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ts-")))
            running[name] = stack.enter_context(contender.start(home))
        for _ in range(rounds):
            for name, (served, target) in running.items():
                measured[name].append(_measure(contenders[name], served, target))
    return {name: _median(costs) for name, costs in measured.items()}


def _measure(contender: Contender, served: Served, target: Target) -> Cost:
    requests = [target.request(stream=False)] * contender.requests
    load(target.port, requests[: contender.requests // 10], _CONNECTIONS)
    before = served.cpu_s()
    whole = load(target.port, requests, _CONNECTIONS)
    between = served.cpu_s()
    streamed = load(target.port, [target.request(stream=True)] * contender.streams, _AT_ONCE)
    after = served.cpu_s()
    alone = load(target.port, requests[: contender.alone], 1)
    before_paced = served.cpu_s()
    load(target.port, requests, _CONNECTIONS, per_second=contender.per_second)
    after_paced = served.cpu_s()
    return Cost(
        cpu_per_request_s=(between - before) / contender.requests,
        cpu_at_rate_s=(after_paced - before_paced) / contender.requests,
        cpu_per_chunk_s=(after - between) / streamed.events,
        requests_per_s=contender.requests / whole.taken_s,
        requests_per_cpu_s=contender.requests / (between - before),
        first_byte_s=statistics.median(alone.first_bytes_s),
    )


def _median(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(values) for values in zip(*(vars(cost).values() for cost in costs), strict=True)))


def _say(what: str, measured_s: float, against: str, reference_s: float, *, who: str = "ours") -> None:
    print(
        f"relay, {what}, {who} / {against}: {measured_s / reference_s:.2f}x "
        f"({measured_s * 1e6:.1f} us / {reference_s * 1e6:.1f} us)"
    )
