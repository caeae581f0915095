"""How deep a JSON value is nested: templates, JSON writers and we ourselves recurse."""

from collections.abc import Iterable
from typing import Any

MAX_DEPTH = 100


def is_deeper(value: Any, limit: int = MAX_DEPTH) -> bool:
    """Whether lists and objects are nested more than `limit` deep; by levels, so that nothing recurses."""
    level = [value]
    for _ in range(limit):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return True


def _children(node: Any) -> Iterable[Any]:
    values = node.values() if isinstance(node, dict) else node
    return (value for value in values if isinstance(value, dict | list))
