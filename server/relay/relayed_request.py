"""What the relay knows of a request, whatever route it came by."""

from collections.abc import Mapping
from typing import Any, Protocol


class RelayedRequest(Protocol):
    """A checked request: it may be put to an engine, once the engine's own name of the model is known."""

    @property
    def model(self) -> str:
        """Its name as asked."""
        ...

    @property
    def stream(self) -> bool: ...

    @property
    def is_kept(self) -> bool:
        """Whether its answer is stored before the last of it is sent."""
        ...

    @property
    def fields(self) -> Mapping[str, Any]:
        """Fields for the engine, but for `model`: under the engine's names."""
        ...

    @property
    def raw(self) -> bytes:
        """The body as the client wrote it."""
        ...

    def body_for(self, model: str, cache_salt: str) -> bytes:
        """Give the engine's request: with its own name of the model, and the salt that keeps projects' caches apart."""
        ...
