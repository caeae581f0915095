"""The idempotency keys whose requests are running now, in any process that answers clients."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from server.errors import Conflict
from server.name_locks import NameLocks


class KeyInUse(Conflict):
    """The one conflict that is over by itself."""

    should_retry = True
    retry_after_s = 1


class RunningKeys:
    """Safe from several threads."""

    def __init__(self, locks: NameLocks) -> None:
        self._locks = locks
        self._lock = threading.Lock()
        self._owners: dict[tuple[str, str], object] = {}  # by project and key, in this process

    @contextmanager
    def hold(self, project_id: str, key: str, owner: object) -> Iterator[None]:
        """Hold a key; its owner may do so again inside.

        Raises:
            KeyInUse: another request holds it.
        """
        name = (project_id, key)
        with self._lock:
            is_held_already = self._owners.get(name) is owner
        if is_held_already:
            yield
            return
        taken = self._locks.take("idempotency key", *name)
        if taken is None:
            raise KeyInUse(
                "A request with this Idempotency-Key is still running. Send it again in a moment.",
                param="Idempotency-Key",
                code="idempotency_key_in_use",
            )
        with taken:
            with self._lock:
                self._owners[name] = owner
            try:
                yield
            finally:
                with self._lock:
                    del self._owners[name]
