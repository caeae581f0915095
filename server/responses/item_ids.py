"""The ids of a response and of what belongs to it: the response's is random, the others follow from it (pure)."""

import hashlib

_PREFIXES = {"message": "msg_", "function_call": "fc_", "function_call_output": "fco_"}


def item_id(kind: str, response_id: str, place: int | str) -> str:
    """Give the id of an item. Who does not know the response's cannot guess it."""
    digest = hashlib.sha256(f"{response_id} {place}".encode()).hexdigest()
    return _PREFIXES[kind] + digest[:48]


def output_id(kind: str, response_id: str, index: int) -> str:
    """Give the id of an item that the model gave."""
    return item_id(kind, response_id, f"output {index}")
