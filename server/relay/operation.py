"""What the relay knows of a route: how a request is read, and how the engine's answer is put in OpenAI's form."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from server.relay.accounts import Caller, Usage
from server.relay.answers import Naming
from server.relay.relayed_request import RelayedRequest

Request = TypeVar("Request", bound=RelayedRequest)


class Rewriter(Protocol):
    """Rewrites one stream as it comes, and knows what it has come to."""

    @property
    def usage(self) -> Usage | None:
        """Of the whole answer; None before its end."""
        ...

    @property
    def is_done(self) -> bool: ...

    def feed(self, chunk: bytes) -> bytes:
        """Give what can be sent on; may be empty.

        Raises:
            AnswerRefused: the engine says so.
            AnswerUnusable: the stream must not be taken for a whole answer.
        """
        ...

    def so_far(self) -> Usage | None:
        """Count what was given on; None before any."""
        ...


class Given(NamedTuple):
    """A whole answer as the client is given it, before the last of it is sent."""

    body: bytes  # in OpenAI's form; of a stream, all its events
    usage: Usage


@dataclass(frozen=True)
class Operation(Generic[Request]):
    """A route that the relay answers when it is POSTed to."""

    path: bytes  # "/v1/chat/completions"
    engine_path: bytes  # where the engine takes it
    prompt_param: str  # the field with what the model reads: that is what is too long
    read: Callable[[bytes], Request]  # a body; pure; raises InvalidRequest
    rewrite: Callable[[bytes, Naming, Request], tuple[bytes, Usage]]  # a whole answer; raises AnswerUnusable
    rewriter: Callable[[Naming, Request], Rewriter]
    prepare: Callable[[Caller, Request], Awaitable[Request]] | None = None  # raises ApiError
    keep: Callable[[Caller, Request, Given], Awaitable[None]] | None = None  # stores what `is_kept`
    in_app: frozenset[bytes] = frozenset()  # methods of the same path that the application answers
