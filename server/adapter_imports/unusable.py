"""What a client is told of an adapter that cannot be imported."""

from server.errors import InvalidRequest

UNUSABLE_ADAPTER = "unusable_adapter"
_MOST_SHOWN = 200  # characters of a name that somebody made up


def unusable(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="file", code=UNUSABLE_ADAPTER)


def shown(name: str) -> str:
    """Of a member, a tensor or a module: as it can stand in one line of a message."""
    return "".join(c if c.isprintable() else "?" for c in name[:_MOST_SHOWN])
