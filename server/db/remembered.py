"""What was looked up in the database, for as long as nothing it stands on has changed."""

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Finds by a key, as of a version of all that is looked up. Belongs to one event loop."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._known: dict[K, V] = {}
        self._of = -1  # the version that all of it was looked up in

    def known(self, key: K, version: int) -> V | None:
        """Give what is known since `version`, without looking anything up."""
        return self._known.get(key) if version == self._of else None

    async def find(self, key: K, version: int, look_up: Callable[[], V | None]) -> V | None:
        """Give what is known since `version`, the present one or a later one, or what `look_up` finds, in a thread.

        Only what was found is remembered: nobody displaces it by asking for what there is not.
        """
        if version > self._of:
            self._known.clear()
            self._of = version
        found = self._known.get(key)
        if found is None:
            found = await asyncio.to_thread(look_up)
            if found is not None and version == self._of:  # else somebody saw a change meanwhile
                self._remember(key, found)
        return found

    def _remember(self, key: K, value: V) -> None:
        if len(self._known) >= self._most:
            del self._known[next(iter(self._known))]
        self._known[key] = value
