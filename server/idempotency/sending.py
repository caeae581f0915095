"""How a request was sent, as far as that tells whether it was sent before (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.db.tables import RememberedRequestRow
from server.errors import InvalidRequest

RETRY_WINDOW_S = 3600.0  # clients wait 600 s for an answer, and try a few times
ORIGINAL_WINDOW_S = 60.0  # a request that its own retry overtook is this late at most
KEY_WINDOW_S = 24 * 3600.0

MAX_KEY_LENGTH = 255


@dataclass(frozen=True)
class Sending:
    key_id: str  # of the API key
    idempotency_key: str | None = None
    retry_count: int | None = None  # by the client's own count; None: it does not say

    @property
    def is_retry(self) -> bool:
        return bool(self.retry_count)


def read_sending(headers: Mapping[str, str], *, key_id: str, idempotency_key: str | None) -> Sending:
    """Raises: InvalidRequest: an idempotency key that cannot be one."""
    if idempotency_key is not None:
        _check(idempotency_key)
    return Sending(key_id, idempotency_key, _count(headers.get("x-stainless-retry-count")))


def choose_first(sending: Sending, alike: Sequence[RememberedRequestRow], *, now: float) -> RememberedRequestRow | None:
    """The one of the requests that asked for the same (newest first) of which this is a repetition; None: of none.

    A request that was counted further than this one is another's, as long as there is one that was not.
    """
    if sending.retry_count is None:
        return None
    if sending.retry_count == 0:
        overtaken = [row for row in alike if not row.is_original_seen and row.created_at > now - ORIGINAL_WINDOW_S]
        return overtaken[-1] if overtaken else None
    count = sending.retry_count
    recent = [row for row in alike if row.created_at > now - RETRY_WINDOW_S]
    behind = [row for row in recent if row.last_retry < count]
    if behind:
        return max(behind, key=lambda row: row.last_retry)  # of several, the first: the newest
    return recent[0] if recent else None


def _check(key: str) -> None:
    if not key.strip():
        raise InvalidRequest(
            "Invalid 'Idempotency-Key': empty string. Send a new random one with each new request, or none.",
            param="Idempotency-Key",
            code="empty_string",
        )
    if len(key) > MAX_KEY_LENGTH:
        raise InvalidRequest(
            f"Invalid 'Idempotency-Key': string too long. Expected a string with maximum length {MAX_KEY_LENGTH}, "
            f"but got a string with length {len(key)} instead.",
            param="Idempotency-Key",
            code="string_above_max_length",
        )


def _count(value: str | None) -> int | None:
    return int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 5 else None
