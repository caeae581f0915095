"""The seam to what counts and limits requests: who is let in, and what each answer came to."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from server.auth.caller import ProjectLimits
from server.relay.relayed_request import RelayedRequest

Header = tuple[bytes, bytes]


class Caller(Protocol):
    """Who asks."""

    @property
    def project_id(self) -> str: ...

    @property
    def slug(self) -> str: ...

    @property
    def key_id(self) -> str: ...

    @property
    def organization_id(self) -> str: ...

    @property
    def limits(self) -> ProjectLimits: ...


class Usage(NamedTuple):
    """Tokens of one answer, all its choices together."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0  # of the prompt's


class Account(Protocol):
    """A request that was let in. Nothing in it may wait: it is called between a client and its answer."""

    @property
    def headers(self) -> Sequence[Header]:
        """To be added to the answer; asked for once, when the answer begins."""
        ...

    def relayed(self, so_far: Callable[[], Usage | None]) -> None:
        """A stream begins. `so_far` can be asked at any time: what the client was sent; None: nothing known yet."""
        ...

    def finished(self, usage: Usage, send: Callable[[], None]) -> None:
        """The answer is whole. Its last bytes are sent by calling `send`, in this turn of the loop or the next."""
        ...

    def refused(self, status: int) -> None:
        """An error is all that the client is answered."""
        ...

    def close(self) -> None:
        """The request has ended. Always called, once; if neither of the other two was, the answer broke off."""
        ...


class Admission(Protocol):
    """Decides whether a request is let in."""

    async def admit(
        self, caller: Caller, request: RelayedRequest, base_model: str, headers: Iterable[Header]
    ) -> Account:
        """Let a request in that is well formed and names a model there is, when it is its turn.

        Raises:
            ApiError: it is not; 429 with the headers that say when to come back.
        """
        ...


class OpenDoor:
    """Lets everybody in, and counts nothing. Both the admission and every account of it."""

    headers: Sequence[Header] = ()

    async def admit(self, *_: object) -> "OpenDoor":
        return self

    def relayed(self, so_far: Callable[[], Usage | None]) -> None: ...

    def finished(self, _usage: Usage, send: Callable[[], None]) -> None:
        send()

    def refused(self, status: int) -> None: ...

    def close(self) -> None: ...
