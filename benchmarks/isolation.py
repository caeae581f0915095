"""What a project can tell of another's prompts, and what it can do to another's waiting: through the real engine."""

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from server.auth.api_keys import create_key
from server.bootstrap import build_services
from server.settings import Settings, load_settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from local_server import local_server

_MODEL = "tunesmith-demo"
_ROUNDS = 150
_ASKED, _PAUSE_S = 40, 0.1  # first tokens that the neighbour waits for, and the time between them
_WORDS = ("river", "parcel", "invoice", "garden", "morning", "letter", "stone", "window", "sister", "copper", "winter")
_WORDS_OF_A_LONG_PROMPT = 280
_STREAMS_OF_A_NUISANCE, _FLOOD = 8, 64


def main(rounds: int = _ROUNDS) -> None:
    with tempfile.TemporaryDirectory(prefix="ts-") as directory:
        home = Path(directory) / "home"
        with local_server(home) as (url, _):
            settings = load_settings({"TUNESMITH_HOME": str(home)})
            database = build_services(settings).database
            port = int(url.rsplit(":", 1)[1].split("/")[0])
            one, other = (Door(port, create_key(database, name).plaintext) for name in ("one", "other"))
            asyncio.run(_measure(one, other, settings, rounds))


async def _measure(one: "Door", other: "Door", settings: Settings, rounds: int) -> None:
    await _tell_the_cache(one, other, settings, rounds)
    await _disturb(one, other)


@dataclass(frozen=True)
class Door:
    """Where one asks: the service with a project's key, or the engine's own socket."""

    port: int = 0
    key: str = ""
    engine: Path | None = None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.engine is not None:
            return await asyncio.open_unix_connection(self.engine)
        return await asyncio.open_connection("127.0.0.1", self.port)

    def request(self, prompt: str, max_tokens: int, n: int = 1) -> bytes:
        messages = [{"role": "user", "content": prompt}]
        body = orjson.dumps({"model": _MODEL, "messages": messages, "max_tokens": max_tokens, "n": n, "stream": True})
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {self.key}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def first_token_s(self, prompt: str, max_tokens: int = 1) -> float:
        reader, writer = await self.connect()
        began = time.perf_counter()
        writer.write(self.request(prompt, max_tokens))
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise RuntimeError("a request was refused")
        await reader.readuntil(b"\n\n")
        taken_s = time.perf_counter() - began
        writer.close()
        return taken_s


async def _tell_the_cache(one: Door, other: Door, settings: Settings, rounds: int) -> None:
    """Whether the time to a first token tells that somebody else has asked the same before."""
    chance = random.Random(1)
    engine = Door(engine=settings.engine_socket(0))
    own, anothers, fresh = [], [], []
    unsalted, unsalted_fresh = [], []
    for _ in range(rounds):
        prompt = _long_prompt(chance)
        await one.first_token_s(prompt)
        own.append(await one.first_token_s(prompt))
        pair = [(anothers, prompt), (fresh, _long_prompt(chance))]
        chance.shuffle(pair)  # so that what comes first or second has no advantage
        for times, asked in pair:
            times.append(await other.first_token_s(asked))
        prompt = _long_prompt(chance)
        unsalted_fresh.append(await engine.first_token_s(prompt))
        unsalted.append(await engine.first_token_s(prompt))
    _show("asked before by the same project", own, fresh)
    _show("asked before by another project", anothers, fresh)
    _show("asked before by anybody, without salt, at the engine", unsalted, unsalted_fresh)


def _show(what: str, times: list[float], fresh: list[float]) -> None:
    """The chance that a prompt of this kind is answered sooner than a fresh one: 0.5 tells nothing, 1 everything."""
    sooner = sum(a < b for a in times for b in fresh) / (len(times) * len(fresh))
    median, median_fresh = statistics.median(times), statistics.median(fresh)
    print(
        f"first token of a long prompt {what}: {median / median_fresh:.2f}x a fresh one "
        f"({median * 1e3:.1f} ms / {median_fresh * 1e3:.1f} ms), sooner in {sooner:.0%} of pairs"
    )


def _long_prompt(chance: random.Random) -> str:
    return " ".join(chance.choices(_WORDS, k=_WORDS_OF_A_LONG_PROMPT))


async def _disturb(one: Door, other: Door) -> None:
    nuisances: dict[str, Callable[[], Coroutine[None, None, None]]] = {
        "clients that stopped reading": lambda: _read_nothing(one),
        "slow readers": lambda: _read_slowly(one),
        "a flood": lambda: _flood(one),
        "a flood of requests for eight answers": lambda: _flood(one, n=8),
    }
    await _first_tokens(other)
    for name, nuisance in nuisances.items():
        alone = await _first_tokens(other)
        async with _going_on(nuisance, _FLOOD if name.startswith("a flood") else _STREAMS_OF_A_NUISANCE):
            await asyncio.sleep(2)
            beside = await _first_tokens(other)
        print(
            f"first token beside another project's {name}: {beside / alone:.2f}x "
            f"({beside * 1e3:.1f} ms / {alone * 1e3:.1f} ms)"
        )


async def _first_tokens(door: Door) -> float:
    times = []
    for number in range(_ASKED):
        times.append(await door.first_token_s(f"Say something about number {number}.", max_tokens=4))
        await asyncio.sleep(_PAUSE_S)
    return statistics.median(times)


@asynccontextmanager
async def _going_on(work: Callable[[], Coroutine[None, None, None]], times: int) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        tasks = [asyncio.create_task(work()) for _ in range(times)]
        stack.push_async_callback(asyncio.wait, tasks)
        for task in tasks:
            stack.callback(task.cancel)
        yield


async def _read_nothing(door: Door) -> None:
    _, writer = await _ask_for_much(door)
    try:
        await asyncio.sleep(3600)
    finally:
        writer.close()


async def _read_slowly(door: Door) -> None:
    while True:
        reader, writer = await _ask_for_much(door)
        try:
            while await reader.read(64):
                await asyncio.sleep(0.2)
        finally:
            writer.close()


async def _flood(door: Door, n: int = 1) -> None:
    while True:
        reader, writer = await _ask_for_much(door, n)
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            while b"[DONE]" not in await reader.readuntil(b"\n\n"):
                pass
        writer.close()


async def _ask_for_much(door: Door, n: int = 1) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await door.connect()
    writer.write(door.request("Tell me a long story about a river.", 400, n))
    return reader, writer
