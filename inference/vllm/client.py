"""HTTP to one vLLM process over its unix socket; its errors become the port's."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from inference.engine import EngineRefusal, EngineUnavailable
from inference.vllm.command import MAX_TOP_LOGPROBS

_CONNECT_TIMEOUT_S = 5.0
_CONTROL_TIMEOUT_S = 120.0  # a large adapter takes its time; nothing else here does
_MAX_ERROR_BYTES = 64 * 1024


class VllmClient:
    """Speaks to one engine process. Make a new one when the process is a new one; needs a running event loop."""

    def __init__(self, socket: Path, silence_timeout_s: float) -> None:
        self._session = aiohttp.ClientSession(
            "http://engine",
            connector=aiohttp.UnixConnector(str(socket), limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S, sock_read=silence_timeout_s),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        await self._session.close()

    async def is_healthy(self, timeout_s: float) -> bool:
        try:
            async with self._session.get("/health", timeout=aiohttp.ClientTimeout(total=timeout_s)) as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def load_adapter(self, name: str, directory: Path) -> None:
        """Raises: EngineRefusal, EngineUnavailable."""
        await self._control("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(directory)})

    async def unload_adapter(self, name: str) -> None:
        """Take a name away; its weights may stay until their place is needed. One that is not there is no error."""
        try:
            await self._control("/v1/unload_lora_adapter", {"lora_name": name})
        except EngineRefusal as refusal:
            if refusal.status != 404:
                raise

    async def list_adapters(self) -> list[str]:
        """Give the names of the adapters the engine has loaded."""
        with _translated():
            async with self._session.get("/v1/models", timeout=_control_timeout()) as response:
                models = orjson.loads(await _read(response))["data"]
        return [model["id"] for model in models if model.get("parent")]

    async def continuations(self, model: str, text: str) -> list[dict[str, float]]:
        """Give the likeliest tokens after `text`, with their log-probabilities in nats, for a few positions."""
        body = {"model": model, "prompt": text, "max_tokens": 4, "logprobs": MAX_TOP_LOGPROBS, "temperature": 0}
        answer = await self._control("/v1/completions", body)
        try:
            return list(orjson.loads(answer)["choices"][0]["logprobs"]["top_logprobs"])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise EngineRefusal(500, answer[:_MAX_ERROR_BYTES]) from error

    async def score(self, model: str, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        """Give the log-probability, in nats, of each token of each text but the first; all of them in one batch.

        On a CPU only of an engine that `cpu_server` started: another dies of it if it has other requests.
        """
        body = {"model": model, "prompt": texts, "max_tokens": 1, "prompt_logprobs": 0, "temperature": 0}
        answer = await self._control("/v1/completions", body)
        try:
            choices = sorted(orjson.loads(answer)["choices"], key=lambda choice: int(choice["index"]))
            return [
                [float(scored[str(token)]["logprob"]) for token, scored in _scored(text, choice["prompt_logprobs"])]
                for text, choice in zip(texts, choices, strict=True)
            ]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise EngineRefusal(500, answer[:_MAX_ERROR_BYTES]) from error

    @asynccontextmanager
    async def open_chat(self, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a chat request; leaving the context before the answer's end cancels it.

        Raises: EngineRefusal, EngineUnavailable.
        """
        headers = {"content-type": "application/json"}
        with _translated():
            async with self._session.post("/v1/chat/completions", data=body, headers=headers) as response:
                try:
                    if response.status != 200:
                        raise EngineRefusal(response.status, await response.content.read(_MAX_ERROR_BYTES))
                    yield response
                finally:
                    if not response.content.at_eof():
                        response.close()

    async def _control(self, path: str, body: dict[str, Any]) -> bytes:
        with _translated():
            async with self._session.post(path, json=body, timeout=_control_timeout()) as response:
                return await _read(response)


def _scored(text: Sequence[int], scored: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    return zip(text[1:], scored[1:], strict=True)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    content = await response.read()
    if response.status != 200:
        raise EngineRefusal(response.status, content[:_MAX_ERROR_BYTES])
    return content


def _control_timeout() -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=_CONTROL_TIMEOUT_S)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise EngineUnavailable("the engine did not answer in time") from error
    except (aiohttp.ClientError, OSError) as error:
        raise EngineUnavailable("the connection to the engine failed or broke off") from error
