"""The seam to what counts and limits requests: who is let in, and what each answer came to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.chat.request import ChatRequest


class Caller(Protocol):
    """Who asks."""

    @property
    def project_id(self) -> str: ...

    @property
    def slug(self) -> str: ...

    @property
    def key_id(self) -> str: ...


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer, all its choices together."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0  # of the prompt's


class Account(Protocol):
    """One request that was let in. Nothing in it may wait: it is called between a client and its answer."""

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """To be added to the answer; asked for once, when the answer begins."""
        ...

    def relayed(self, so_far: Callable[[], Usage | None]) -> None:
        """A stream begins. `so_far` can be asked at any time: what the client was sent; None: nothing known yet."""
        ...

    def finished(self, usage: Usage) -> None:
        """The answer is whole. Called before its last bytes are sent."""
        ...

    def close(self) -> None:
        """The request has ended. Always called, once; if `finished` was not, the answer was refused or broke off."""
        ...


class Admission(Protocol):
    """Decides whether a request is let in."""

    def admit(self, caller: Caller, request: ChatRequest) -> Account:
        """Let a request in that is well formed and names a model there is.

        Raises:
            ApiError: it is not; 429 with the headers that say when to come back.
        """
        ...


class OpenDoor:
    """Lets everybody in, and counts nothing. Both the admission and every account of it."""

    headers: Sequence[tuple[bytes, bytes]] = ()

    def admit(self, _caller: Caller, _request: ChatRequest) -> "OpenDoor":
        return self

    def relayed(self, so_far: Callable[[], Usage | None]) -> None: ...

    def finished(self, usage: Usage) -> None: ...

    def close(self) -> None: ...
