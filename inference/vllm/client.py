"""HTTP to one vLLM process over its unix socket; its errors become the port's."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from inference.engine import EngineRefusal, EngineRequest, EngineUnavailable, Take
from inference.lending.lease import Lease
from inference.sse import EndWatch
from inference.vllm.command import MAX_TOP_LOGPROBS
from inference.vllm.http import Http

_CONTROL_TIMEOUT_S = 120.0  # a large adapter takes its time; nothing else here does
_MAX_ERROR_BYTES = 64 * 1024


class VllmClient:
    """Speaks to one engine process. Make a new one when the process is a new one; needs a running event loop."""

    def __init__(self, socket: Path, silence_timeout_s: float) -> None:
        self._http = Http(socket, silence_timeout_s)

    @property
    def is_connected(self) -> bool:
        return self._http.is_connected

    async def close(self) -> None:
        self._http.close()

    async def is_healthy(self, timeout_s: float) -> bool:
        try:
            await self._ask(b"GET", b"/health", timeout_s=timeout_s)
        except (EngineRefusal, EngineUnavailable):
            return False
        return True

    async def load_adapter(self, name: str, directory: Path) -> None:
        """Raises: EngineRefusal, EngineUnavailable."""
        await self._control(b"/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(directory)})

    async def unload_adapter(self, name: str) -> None:
        """Take a name away; its weights may stay until their place is needed. One that is not there is no error."""
        try:
            await self._control(b"/v1/unload_lora_adapter", {"lora_name": name})
        except EngineRefusal as refusal:
            if refusal.status != 404:
                raise

    async def list_adapters(self) -> list[str]:
        """Give the names of the adapters the engine has loaded."""
        models = orjson.loads(await self._ask(b"GET", b"/v1/models"))["data"]
        return [model["id"] for model in models if model.get("parent")]

    async def continuations(self, model: str, text: str) -> list[dict[str, float]]:
        """Give the likeliest tokens after `text`, with their log-probabilities in nats, for a few positions."""
        body = {"model": model, "prompt": text, "max_tokens": 4, "logprobs": MAX_TOP_LOGPROBS, "temperature": 0}
        answer = await self._control(b"/v1/completions", body)
        try:
            return list(orjson.loads(answer)["choices"][0]["logprobs"]["top_logprobs"])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise EngineRefusal(500, answer[:_MAX_ERROR_BYTES]) from error

    async def score(self, model: str, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        """Give the log-probability, in nats, of each token of each text but the first; all of them in one batch.

        On a CPU only of an engine that `cpu_server` started: another dies of it if it has other requests.
        """
        body = {"model": model, "prompt": texts, "max_tokens": 1, "prompt_logprobs": 0, "temperature": 0}
        answer = await self._control(b"/v1/completions", body)
        try:
            choices = sorted(orjson.loads(answer)["choices"], key=lambda choice: int(choice["index"]))
            return [
                [float(scored[str(token)]["logprob"]) for token, scored in _scored(text, choice["prompt_logprobs"])]
                for text, choice in zip(texts, choices, strict=True)
            ]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise EngineRefusal(500, answer[:_MAX_ERROR_BYTES]) from error

    async def answer(self, request: EngineRequest, take: Take, lease: Lease | None) -> None:
        """Send a request, and give its answer to `take`, as the port has it.

        Raises: EngineRefusal, EngineUnavailable.
        """
        stream = _Stream(take, lease) if request.stream else None
        try:
            answer = await self._http.ask(b"POST", request.path, request.body, take=stream, lease=lease)
        except OSError as error:  # a TimeoutError is one
            raise unavailable(error) from error
        if answer.status != 200:
            raise EngineRefusal(answer.status, answer.body[:_MAX_ERROR_BYTES])
        if stream is None:
            take(answer.body)
            if lease is not None:
                lease.note_answer()
        elif not stream.end.is_complete:
            raise EngineUnavailable("the answer broke off before its end")

    async def _control(self, path: bytes, body: dict[str, Any]) -> bytes:
        return await self._ask(b"POST", path, orjson.dumps(body))

    async def _ask(
        self, method: bytes, path: bytes, body: bytes = b"", *, timeout_s: float = _CONTROL_TIMEOUT_S
    ) -> bytes:
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._http.ask(method, path, body)
        except OSError as error:
            raise unavailable(error) from error
        if answer.status != 200:
            raise EngineRefusal(answer.status, answer.body[:_MAX_ERROR_BYTES])
        return answer.body


class _Stream:
    """What takes a stream on its way."""

    def __init__(self, take: Take, lease: Lease | None) -> None:
        self._take = take
        self._lease = lease  # None: there is nothing to be noted, or it was
        self.end = EndWatch()

    def __call__(self, some: bytes) -> "asyncio.Future[None] | None":
        if self._lease is not None:
            self._lease.note_answer()
            self._lease = None
        self.end.feed(some)
        return self._take(some)


def unavailable(error: OSError) -> EngineUnavailable:
    if isinstance(error, TimeoutError):
        return EngineUnavailable("the engine did not answer in time")
    return EngineUnavailable("the connection to the engine failed or broke off")


def _scored(text: Sequence[int], scored: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    return zip(text[1:], scored[1:], strict=True)
