"""A small HTTP server that speaks vLLM's routes on a unix socket, with scripted faults: `VllmEngine` is tested on it.

Like vLLM it keeps the weights of an unloaded adapter until their place is needed, drops the least recently used by
itself, reads a dropped one again from its files, and dies of it if they are gone.
"""

import asyncio
import json
import random
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from inference.adapter_files import WEIGHTS, check_adapter
from inference.engine import AdapterRejected
from inference.fake_engine import stream_chunks, whole_answer
from inference.vllm.own_weights import WEIGHTS as FULL_WEIGHTS


@dataclass
class FakeVllm:
    """Runs on the event loop of the test: `await start()`, `await stop()`."""

    socket: Path
    base_model: str = "base"  # or the full model that it serves
    own_voice: int = 0  # what that says depends on its weights
    cpu_adapters: int = 8
    ignores_adapters: bool = False  # loads them, and answers as the base
    refusal: tuple[int, bytes] | None = None  # of chat requests
    break_after_chunks: int | None = None
    breaks_off_politely: bool = False  # the connection ends as if the answer were whole
    hold: asyncio.Event | None = None  # answers wait for it
    hold_loads: asyncio.Event | None = None
    faint: set[str] = field(default_factory=set)  # adapters that barely move the base
    babbling: set[str] = field(default_factory=set)  # models whose probabilities are no numbers
    dies_of_scoring: bool = False
    is_dead: bool = False
    starts_dead: bool = False  # the next process listens, and is not healthy yet
    health_checks: int = 0
    loaded: dict[str, Path] = field(default_factory=dict)  # what the front end knows
    cache: "OrderedDict[str, Path]" = field(default_factory=OrderedDict)  # what is in memory
    voices: dict[str, int] = field(default_factory=dict)  # what an adapter says depends on its weights alone
    scored: list[str] = field(default_factory=list)  # the models that were asked for log-probabilities
    loads: list[str] = field(default_factory=list)  # every load that was asked for
    running: int = 0
    cancelled: int = 0
    most_loaded: int = 0

    async def start(self) -> None:
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/load_lora_adapter", self._load)
        app.router.add_post("/v1/unload_lora_adapter", self._unload)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_post("/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        self.socket.unlink(missing_ok=True)
        await web.UnixSite(self._runner, str(self.socket)).start()

    async def stop(self) -> None:
        await self._runner.cleanup()
        self.socket.unlink(missing_ok=True)
        for _ in range(3):
            await asyncio.sleep(0)  # who was connected reads the end, and is told of it

    async def restart(self) -> None:
        """Become a new process that knows nothing."""
        await self.stop()
        self.loaded.clear()
        self.cache.clear()
        self.is_dead = self.starts_dead
        await self.start()

    async def _health(self, _request: web.Request) -> web.Response:
        self.health_checks += 1
        return web.Response(status=503 if self.is_dead else 200)

    async def _models(self, _request: web.Request) -> web.Response:
        adapters = [{"id": name, "parent": self.base_model} for name in self.loaded]
        return web.json_response({"data": [{"id": self.base_model, "parent": None}, *adapters]})

    async def _load(self, request: web.Request) -> web.Response:
        body = await request.json()
        name, directory = body["lora_name"], Path(body["lora_path"])
        self.loads.append(name)
        if self.hold_loads is not None:
            await self.hold_loads.wait()
        if name in self.loaded:
            return _error(400, f"The lora adapter '{name}' has already been loaded.")
        try:
            self._read(name, directory)
        except AdapterRejected:
            return _error(500, "Call to add_lora method failed")
        self.loaded[name] = directory
        self.most_loaded = max(self.most_loaded, len(self.loaded))
        return web.Response(text="Success")

    async def _unload(self, request: web.Request) -> web.Response:
        name = (await request.json())["lora_name"]
        if self.loaded.pop(name, None) is None:
            return _error(404, "cannot be found")
        return web.Response(text="Success")

    async def _complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        model = body["model"]
        if (refusal := self._use(model)) is not None:
            return refusal
        if model in self.babbling:
            return web.Response(body=b'{"choices": [{"logprobs": {"top_logprobs": [{"x": NaN}]}}]}')
        if "prompt_logprobs" in body:
            self.is_dead |= self.dies_of_scoring
            if self.is_dead:
                return _error(500, "EngineCore encountered an issue.")
            return web.json_response({"choices": [self._score(model, *item) for item in enumerate(body["prompt"])]})
        voice = self.base_model if self.ignores_adapters else model
        return web.json_response({"choices": [{"logprobs": {"top_logprobs": [{voice: -0.5}]}}]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if (refusal := self._use(body["model"])) is not None:
            return refusal
        if self.refusal is not None:
            return web.Response(status=self.refusal[0], body=self.refusal[1])
        self.running += 1
        try:
            return await self._answer(request, body)
        except (asyncio.CancelledError, ConnectionError):
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if not body.get("stream"):
            if self.hold is not None:
                await self.hold.wait()
            payload = json.dumps(whole_answer(body)).encode()
            if self.break_after_chunks is None:
                return web.Response(body=payload, content_type="application/json")
            return await self._break_off(request, payload)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for index, chunk in enumerate(stream_chunks(body)):
            if index == self.break_after_chunks:
                if request.transport is not None and not self.breaks_off_politely:
                    request.transport.abort()
                return response
            if index == 1 and self.hold is not None:
                await self.hold.wait()
            await response.write(chunk)
        await response.write_eof()
        return response

    async def _break_off(self, request: web.Request, payload: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": str(len(payload))})
        await response.prepare(request)
        await response.write(payload[:20])
        if request.transport is not None:
            request.transport.close()
        return response

    def _score(self, model: str, index: int, text: list[int]) -> dict[str, Any]:
        self.scored.append(model)
        is_base = model == self.base_model or self.ignores_adapters
        scores = score(self.own_voice if is_base else self.voices[model], text, faint=model in self.faint)
        scored = [{str(token): {"logprob": value}} for token, value in zip(text[1:], scores, strict=True)]
        return {"index": index, "prompt_logprobs": [None, *scored]}

    def _use(self, model: str) -> web.Response | None:
        if self.is_dead:
            return _error(500, "EngineCore encountered an issue.")
        if model == self.base_model:
            return None
        if model not in self.loaded:
            return _error(404, f"The model `{model}` does not exist.")
        try:
            self._read(model, self.loaded[model])
        except AdapterRejected:
            self.is_dead = True
            return _error(500, "EngineCore encountered an issue.")
        return None

    def _read(self, name: str, directory: Path) -> None:
        if name not in self.cache:
            check_adapter(directory, 16)
            if len(self.cache) >= self.cpu_adapters:
                self.cache.popitem(last=False)
            self.cache[name] = directory
            self.voices[name] = voice_of(directory)
        self.cache.move_to_end(name)


def voice_of(directory: Path) -> int:
    weights = directory / WEIGHTS
    return zlib.crc32((weights if weights.exists() else directory / FULL_WEIGHTS).read_bytes())


def score(voice: int, text: list[int], *, faint: bool = False) -> list[float]:
    """The log-probability of each token but the first; voice 0 is the base's."""
    of_base, of_voice = (
        [-5 * random.Random(f"{whose} {place} {token}").random() for place, token in enumerate(text[1:])]
        for whose in (0, voice)
    )
    share = 0.001 if faint else 1.0
    return [base + share * (own - base) for base, own in zip(of_base, of_voice, strict=True)]


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "param": None, "code": status}}, status=status)
