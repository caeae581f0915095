"""An engine without a model: deterministic answers and scripted faults, for unit and fault tests.

It answers in the engine's own form, private fields included, so that what relays it is tested with them.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from inference.adapter_files import check_adapter, check_weights
from inference.engine import (
    AdapterRef,
    AdapterRejected,
    EngineHealth,
    EngineRefusal,
    EngineRequest,
    EngineUnavailable,
    Take,
)
from inference.examination import Proof
from inference.report import AdapterReport, EngineReport


@dataclass
class Faults:
    """What goes wrong; change it between calls."""

    unavailable: bool = False  # nothing answers
    refusal: EngineRefusal | None = None  # requests are answered with this
    break_after_chunks: int | None = None  # a stream breaks off after so many of its chunks
    hold: asyncio.Event | None = None  # an answer waits for it: a whole one at once, a stream after its first chunk


@dataclass
class FakeEngine:
    """An `InferenceEngine` whose answers say which model gave them, and how long the conversation was."""

    base_model: str  # or the full model that it serves
    max_rank: int = 16
    reads_files: bool = True  # False: adapters need no files
    faults: Faults = field(default_factory=Faults)
    resident: dict[str, AdapterRef] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)  # of the requests, as received
    running: int = 0  # answers under way
    cancelled: int = 0  # answers that were cancelled, or broke off, before their end

    async def ensure_adapter(self, adapter: AdapterRef) -> None:
        self._check_available()
        if adapter.name in self.resident:
            return
        if adapter.engine != self.base_model:
            raise AdapterRejected("the adapter belongs to another base model")
        if self.reads_files:
            check_adapter(adapter.directory, self.max_rank)
            check_weights(adapter.directory, adapter.sha256)
        self.resident[adapter.name] = adapter

    async def forget_adapter(self, name: str) -> None:
        self.resident.pop(name, None)

    async def answer(self, request: EngineRequest, adapter: AdapterRef | None, take: Take) -> None:
        self._check_available()
        if adapter is not None:
            await self.ensure_adapter(adapter)
        body = json.loads(request.body)
        self.bodies.append(body)
        if self.faults.refusal is not None:
            raise self.faults.refusal
        self.running += 1
        finished = False
        try:
            async for chunk in self._answer(body, stream=request.stream):
                if (until_taken := take(chunk)) is not None:
                    await until_taken
            finished = True
        finally:
            self.running -= 1
            self.cancelled += not finished

    async def health(self) -> EngineHealth:
        if self.faults.unavailable:
            return EngineHealth(ready=False, detail="the engine is not running")
        return EngineHealth(ready=True, detail="ready")

    async def report(self) -> EngineReport:
        health = await self.health()
        return EngineReport(health.ready, health.detail, tuple(_describe(one) for one in self.resident.values()))

    async def close(self) -> None:
        self.resident.clear()

    async def _answer(self, body: dict[str, Any], *, stream: bool) -> AsyncIterator[bytes]:
        chunks = list(stream_chunks(body)) if stream else [json.dumps(whole_answer(body)).encode()]
        for index, chunk in enumerate(chunks):
            if self.faults.break_after_chunks is not None and index >= self.faults.break_after_chunks:
                raise EngineUnavailable("the answer broke off")
            if self.faults.hold is not None and index == len(chunks[:2]) - 1:
                await self.faults.hold.wait()
            yield chunk

    def _check_available(self) -> None:
        if self.faults.unavailable:
            raise EngineUnavailable("the engine is not running")


def _describe(adapter: AdapterRef) -> AdapterReport:
    return AdapterReport(
        name=adapter.name,
        sha256=adapter.sha256,
        loaded_at=1_700_000_000.0,
        load_s=0.0,
        check_s=0.0,
        first_answer_s=None,
        proof=Proof.NONE,
        adapter_gap=None,
        base_gap=None,
        pins=0,
    )


def answer_text(body: dict[str, Any]) -> str:
    """Say the words that answer a request."""
    return f"{body['model']} read {len(body['messages'])} messages"


def whole_answer(body: dict[str, Any]) -> dict[str, Any]:
    """Build an answer as vLLM writes it."""
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": answer_text(body), "refusal": None, "reasoning": None},
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": None,
            "token_ids": None,
            "routed_experts": None,
        }
        for index in range(body.get("n") or 1)
    ]
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": body["model"],
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": None,
        "usage": _usage(body),
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "kv_transfer_params": None,
        "metrics": None,
    }


def stream_chunks(body: dict[str, Any]) -> list[bytes]:
    """Build the events of a streamed answer as vLLM writes them."""
    words = [word + " " for word in answer_text(body).split()]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": word} for word in words)]
    options = body.get("stream_options") or {}
    with_ids = body.get("return_token_ids")
    events = [
        _chunk(body, [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, "token_ids": ids}])
        for delta, ids in ((delta, [number] if with_ids else None) for number, delta in enumerate(deltas))
    ]
    events[0]["prompt_token_ids"] = [1] * len(body["messages"]) if with_ids else None
    events[0]["choices"][0].pop("token_ids")
    last = {"index": 0, "delta": {"content": ""}, "logprobs": None, "finish_reason": "stop", "stop_reason": None}
    events.append(_chunk(body, [last]))
    if options.get("continuous_usage_stats"):
        for index, event in enumerate(events):
            event["usage"] = {**_usage(body), "completion_tokens": min(index, len(words))}
    if options.get("include_usage"):
        events.append({**_chunk(body, []), "usage": _usage(body)})
    return [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events] + [b"data: [DONE]\n\n"]


def _chunk(body: dict[str, Any], choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": body["model"],
        "choices": choices,
    }


def _usage(body: dict[str, Any]) -> dict[str, Any]:
    prompt, completion = len(body["messages"]), len(answer_text(body).split())
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": None,
    }
