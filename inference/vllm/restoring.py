"""The adapters that were resident in an engine process which has ended: loaded again, before anybody asks for them."""

from collections.abc import Sequence

from inference.engine import AdapterRef, AdapterRejected
from inference.vllm.adapters import LoadedAdapters


class Restoring:
    """Belongs to one event loop."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._wanted: dict[str, AdapterRef] = {}  # by name, most recently used first

    @property
    def wanted(self) -> list[str]:
        """Names still to be loaded again, the next first."""
        return list(self._wanted)

    def add(self, adapters: Sequence[AdapterRef]) -> None:
        """Note what a process held at its end, most recently used first; it goes before what is still wanted."""
        wanted = {adapter.name: adapter for adapter in adapters}
        self._wanted = dict(list({**wanted, **self._wanted}.items())[: self._capacity])

    def forget(self, name: str) -> None:
        """Note that an adapter must not come back. Idempotent."""
        self._wanted.pop(name, None)

    async def restore(self, adapters: LoadedAdapters) -> None:
        """Load them one at a time, each only while no request waits for a load and none has to make way for it.

        Raises:
            EngineUnavailable: what is left is still wanted.
        """
        await adapters.until_idle()
        while self._wanted and adapters.has_free_place() and not adapters.is_retired:
            adapter = next(iter(self._wanted.values()))
            try:
                async with adapters.use(adapter, makes_room=False):
                    self.forget(adapter.name)
            except AdapterRejected:  # logged, and remembered
                self.forget(adapter.name)
            await adapters.until_idle()
        if not adapters.is_retired:
            self._wanted.clear()
