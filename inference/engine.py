"""The port to what answers inference requests, and the words it uses."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from inference.examination import Examination
from inference.report import EngineReport


@dataclass(frozen=True)
class AdapterRef:
    """An adapter an engine can serve; or, with `is_full`, a model that has an engine of its own."""

    name: str  # its public `ft:` name: unique per weights, never reused
    base_model: str  # the base's own name
    directory: Path  # PEFT form: adapter_config.json and adapter_model.safetensors; of a full model, the whole of it
    rank: int  # 0: of a full model
    sha256: str  # of the file of weights, hexadecimal; what lies there is served only if it has this hash
    is_full: bool = False  # all of a model's weights, which stand beside no base

    @property
    def engine(self) -> str:
        """The name of the engine that serves it."""
        return self.name if self.is_full else self.base_model


CHAT_PATH = b"/v1/chat/completions"


class EngineRequest(NamedTuple):
    """A request as the engine is to see it."""

    path: bytes  # of the engine's route
    body: bytes  # a JSON object whose `model` is the base's name or a resident adapter's
    stream: bool


@dataclass(frozen=True)
class EngineHealth:
    ready: bool
    detail: str  # for humans; safe to show
    is_wanted: bool = True  # False: it is away by plan, and comes when it is asked or due


class EngineError(Exception):
    """The engine could not do what was asked. The root of the port's errors."""


class EngineUnavailable(EngineError):
    """The engine is not there, or not ready; the same request may succeed later. The message is safe to show."""

    retry_after_s: int | None = None  # when, as far as can be told


class AdapterRejected(EngineError):
    """The engine does not serve this adapter as it is: its files are missing, damaged, others or not servable, or it
    does not show who it is. The message is safe to show to whoever may use it.
    """


class EngineRefusal(EngineError):
    """The engine refused the request with an answer of its own."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"engine answered {status}")
        self.status = status
        self.body = body


# Asks the engine, with an adapter, for texts as token ids; gives the log-probability, in nats, of each token but the
# first. Raises AdapterRejected, EngineUnavailable.
Score = Callable[[Sequence[Sequence[int]]], Awaitable[list[list[float]]]]


# Is given an answer's bytes. It gives None, or a future to wait for before it is given more.
Take = Callable[[bytes], "asyncio.Future[None] | None"]


class Examiner(Protocol):
    """Judges adapters that were loaded, each before anybody uses it."""

    async def examine(self, adapter: AdapterRef, score: Score) -> Examination:
        """Raises:
        AdapterRejected: it is not what it should be, or not applied.
        EngineUnavailable: try again later.
        """
        ...


class InferenceEngine(Protocol):
    """Answers requests for one base model and any of its adapters; or for one full model, as its only adapter."""

    async def ensure_adapter(self, adapter: AdapterRef) -> None:
        """Make the adapter resident: load, examine, then admit; unload the least recently used first. Idempotent.

        Raises:
            AdapterRejected: its files are missing or damaged, or the engine refuses them.
            EngineUnavailable: try again later.
        """
        ...

    async def forget_adapter(self, name: str) -> None:
        """Close the door to an adapter and unload it; afterwards its files may be deleted. Idempotent."""
        ...

    async def answer(self, request: EngineRequest, adapter: AdapterRef | None, take: Take) -> None:
        """Answer a request, and return at the answer's end. `take` is given the whole body, once, or a stream's bytes
        as they come; what it raises ends the answer and is raised.

        An adapter is made resident first and stays so until the answer ends. Whoever is cancelled meanwhile
        cancels the work in the engine.

        Raises:
            EngineRefusal: the engine answered with an error status; nothing was given.
            EngineUnavailable: nothing answered, or the answer broke off before its end.
        """
        ...

    async def health(self) -> EngineHealth: ...

    async def report(self) -> EngineReport:
        """Say for the operator what it holds and what it rejected."""
        ...

    async def close(self) -> None:
        """Let go of the engine's connections, at the end of the event loop they belong to; the engine goes on."""
        ...
