"""Sends what is due, in the worker: each try in a thread of its own, which nobody waits for."""

import logging
import random
import time
from collections.abc import Callable
from functools import partial
from threading import Event, Lock, Thread, current_thread

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from server.webhooks.delivering import repository
from server.webhooks.delivering.repository import Claim
from server.webhooks.delivering.schedule import Standing, next_try_at
from server.webhooks.delivering.turns import choose
from server.webhooks.outside.sending import Sender
from server.webhooks.signing import signed_headers

_LOG = logging.getLogger("tunesmith.worker")
_POLL_S = 1.0
_PLACES = 64  # tries under way at once
_PATIENCE_S = 2.0  # at the end, with those that are under way
_LEASE_BEYOND_S = 20.0  # what one try may take


class Deliverer:
    """What it knows is in the database: a new one goes on, and tries again what a kill left without an outcome."""

    def __init__(
        self,
        database: Engine,
        sender: Sender,
        *,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        places: int = _PLACES,
    ) -> None:
        self._database = database
        self._sender = sender
        self._clock = clock  # unix seconds
        self._chance = chance  # from 0 to 1
        self._places = places
        self._lease_s = sender.limits.whole_s + _LEASE_BEYOND_S
        self._lock = Lock()
        self._under_way: dict[Thread, Claim] = {}
        self._something_ended = Event()

    def run(self, stop: Event, *, patience_s: float = _PATIENCE_S) -> None:
        """Deliver until told to stop. A busy database or a full disk is left to the next time."""
        while not stop.is_set():
            try:
                self.tick()
            except (DBAPIError, OSError) as error:
                _LOG.error("delivering webhooks broke off: %s", type(error).__name__)
            self._something_ended.wait(_POLL_S)
            self._something_ended.clear()
        self.settle(patience_s)

    def tick(self) -> None:
        """Begin the tries that are due, as far as there are places."""
        now = self._clock()
        waiting = repository.list_waiting(self._database, now=now)
        with self._lock:
            under_way = [one.waiting for one in self._under_way.values()]
        chosen = choose(waiting, under_way, places=self._places)
        if chosen:
            for claimed in repository.claim(self._database, chosen, now=now, lease_s=self._lease_s):
                self._begin(claimed)

    def settle(self, patience_s: float) -> None:
        """Wait for the tries that are under way, but not long: what is not recorded is tried again."""
        deadline = time.monotonic() + patience_s
        with self._lock:
            threads = list(self._under_way)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _begin(self, claimed: Claim) -> None:
        # A daemon: a receiver or a name server that hangs cannot hold up the end of the worker.
        thread = Thread(target=self._try, args=(claimed,), name="webhook", daemon=True)
        with self._lock:
            self._under_way[thread] = claimed
        try:
            thread.start()
        except RuntimeError as error:  # the machine has no thread left; the lease brings the delivery back
            with self._lock:
                del self._under_way[thread]
            raise OSError("no thread can be started") from error

    def _try(self, claimed: Claim) -> None:
        try:
            headers = signed_headers(claimed.message, claimed.secrets, now=self._clock())
            sent = self._sender.send(claimed.url, headers, claimed.message.body)
            now = self._clock()
            standing = Standing(claimed.created_at, claimed.number)
            following = partial(next_try_at, standing, now=now, chance=self._chance())
            repository.record(self._database, claimed, sent, now=now, next_try_at=following)
        except DBAPIError as error:
            _LOG.error("the outcome of a webhook was not recorded: %s; it is sent again", type(error).__name__)
        finally:
            with self._lock:
                self._under_way.pop(current_thread())
            self._something_ended.set()
