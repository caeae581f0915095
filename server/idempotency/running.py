"""The idempotency keys whose requests are running now, in this process: the only one that answers clients."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from server.errors import Conflict


class KeyInUse(Conflict):
    """The one conflict that is over by itself."""

    should_retry = True
    retry_after_s = 1


class RunningKeys:
    """Safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owners: dict[tuple[str, str], object] = {}  # by project and key

    @contextmanager
    def hold(self, project_id: str, key: str, owner: object) -> Iterator[None]:
        """Hold a key; its owner may do so again inside.

        Raises:
            KeyInUse: another request holds it.
        """
        name = (project_id, key)
        with self._lock:
            holder = self._owners.get(name)
            if holder is not None and holder is not owner:
                raise KeyInUse(
                    "A request with this Idempotency-Key is still running. Send it again in a moment.",
                    param="Idempotency-Key",
                    code="idempotency_key_in_use",
                )
            self._owners[name] = owner
        try:
            yield
        finally:
            if holder is None:
                with self._lock:
                    del self._owners[name]
