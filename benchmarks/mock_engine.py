"""An engine without a model for benchmarks: vLLM's bytes, written at once, on a unix socket and on a port.

`python -m benchmarks.mock_engine --uds PATH [--port N]`
"""

import argparse
import asyncio
import secrets
import time
from typing import Any

import httptools
import orjson
import uvloop

_CHUNKS = 100  # of a stream, besides its first and its last
_PROMPT_TOKENS = 40
_INTERVAL_S = 0.005  # between two of them
_HEAD = b"HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\nserver: uvicorn\r\n"
_WORDS = " These are the words of an answer as a model might have given it" * 4
_Json = dict[str, Any]


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._path, self._body = b"", b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = b""

    def on_url(self, url: bytes) -> None:
        self._path = url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._path == b"/v1/chat/completions":
            self._chat(orjson.loads(self._body))
        elif self._path == b"/v1/completions":
            voice = orjson.loads(self._body)["model"]
            self._send({"choices": [{"logprobs": {"top_logprobs": [{voice: -0.5}]}}]})
        else:
            self._send({"data": []})

    def _chat(self, asked: _Json) -> None:
        if asked.get("stream"):
            head = b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
            self._transport.write(_HEAD + head)
            self._stream(_events(asked), 0)
        else:
            self._send(_answer(asked["model"]))

    def _stream(self, events: list[bytes], index: int) -> None:
        if not self._transport.is_closing() and index < len(events):
            self._transport.write(events[index])
            asyncio.get_running_loop().call_later(_INTERVAL_S, self._stream, events, index + 1)

    def _send(self, answer: _Json) -> None:
        body = orjson.dumps(answer)
        self._transport.write(
            _HEAD + b"content-length: %d\r\ncontent-type: application/json\r\n\r\n" % len(body) + body
        )


def _answer(model: str) -> _Json:
    message = {"role": "assistant", "content": _WORDS, "refusal": None, "annotations": None, "reasoning": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop", "stop_reason": None}
    return {
        "id": _new_id(),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{**choice, "token_ids": None}],
        "service_tier": None,
        "system_fingerprint": None,
        "usage": {**_usage(60), "prompt_tokens_details": None},
        "prompt_logprobs": None,
        "kv_transfer_params": None,
    }


def _new_id() -> str:
    return f"chatcmpl-{secrets.token_hex(16)}"


def _usage(completion_tokens: int) -> _Json:
    total = _PROMPT_TOKENS + completion_tokens
    return {"prompt_tokens": _PROMPT_TOKENS, "total_tokens": total, "completion_tokens": completion_tokens}


def _events(asked: _Json) -> list[bytes]:
    """The stream, each event as one chunk of HTTP, the end of the body with the last."""
    options = asked.get("stream_options") or {}
    base = {
        "id": _new_id(),
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": asked["model"],
    }
    deltas: list[_Json] = [
        {"role": "assistant", "content": ""},
        *({"content": f" word{i % 7}"} for i in range(_CHUNKS + 1)),
    ]
    events: list[_Json] = []
    for index, delta in enumerate(deltas):
        is_last = index == len(deltas) - 1
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": "stop" if is_last else None}
        ids = [1000 + index] if asked.get("return_token_ids") and index else None
        events.append({**base, "choices": [{**choice, "token_ids": ids}]})
        if options.get("continuous_usage_stats"):
            events[-1]["usage"] = _usage(index)
    if asked.get("return_token_ids"):
        events[0]["prompt_token_ids"] = list(range(1000, 1000 + _PROMPT_TOKENS))
    if options.get("include_usage"):
        events.append({**base, "choices": [], "usage": _usage(_CHUNKS + 1)})
    written = [b"data: " + orjson.dumps(event) + b"\n\n" for event in events] + [b"data: [DONE]\n\n"]
    chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in written]
    return [*chunks[:-1], chunks[-1] + b"0\r\n\r\n"]


async def _serve(path: str, port: int | None) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_unix_server(_Connection, path)]
    if port is not None:
        servers.append(await loop.create_server(_Connection, "127.0.0.1", port))
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--uds", required=True)
    parser.add_argument("--port", type=int)
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(given.uds, given.port))
