"""What a request goes on from."""

from collections.abc import Sequence
from typing import NamedTuple

from server.relay.fields import JsonObject


class Before(NamedTuple):
    """A conversation so far."""

    items: Sequence[JsonObject] = ()
    depth: int = 0  # how many responses it has
    thread_bytes: int = 0  # of the items, as JSON
