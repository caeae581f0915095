"""One request's use of an adapter, as the process that answers and the one that keeps the adapter see it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from inference.engine import AdapterRef


class Lease(Protocol):
    """What whoever uses an adapter is told through, and tells."""

    @property
    def abort(self) -> Callable[[], None] | None: ...
    @abort.setter
    def abort(self, abort: Callable[[], None] | None) -> None:
        """Say how what is done with the adapter is ended, when it must go at once."""

    recall: Callable[[], None] | None  # asks for it to be given back as soon as nothing is done with it

    def note_answer(self) -> None:
        """Note that the first bytes of an answer are here."""
        ...


class Books(Protocol):
    """Who keeps the adapters of one engine."""

    def lend(self, adapter: AdapterRef) -> AbstractAsyncContextManager[Lease]:
        """Have an adapter resident for the length of the context.

        Raises:
            AdapterRejected, EngineUnavailable: as the port says.
        """
        ...

    def lost(self, name: str) -> None:
        """Note that the engine does not know an adapter after all."""
        ...

    async def forget_adapter(self, name: str) -> None:
        """Close the door to an adapter and unload it. Raises: EngineUnavailable."""
        ...


class Ending:
    """How what is done under a lease is ended: now, or as soon as it can be."""

    _abort: Callable[[], None] | None = None
    _is_over = False

    @property
    def abort(self) -> Callable[[], None] | None:
        return self._abort

    @abort.setter
    def abort(self, abort: Callable[[], None] | None) -> None:
        self._abort = abort
        if self._is_over and abort is not None:
            abort()

    def end(self) -> None:
        self._is_over = True
        if self._abort is not None:
            self._abort()


class BorrowedLease(Ending):
    """A `Lease` in the process that answers."""

    recall: Callable[[], None] | None = None  # a request does not give back before its end

    def __init__(self, note_answer: Callable[[], None]) -> None:
        self._note_answer = note_answer

    def note_answer(self) -> None:
        self._note_answer()
