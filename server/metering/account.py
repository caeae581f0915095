"""What is counted of an answer, and for whom (pure)."""

from typing import NamedTuple


class Account(NamedTuple):
    """Whom an answer is counted for, in the minute in which it was asked for."""

    project_id: str
    key_id: str  # of the API key; one of the settings has a name in its place
    model: str  # as the client asked for it
    base_model: str
    minute: int  # unix seconds of its beginning
    is_batch: bool = False  # whether a batch asked, and no client waited


class Amount(NamedTuple):
    """Of one answer, or of many. What is written are increments; their sum is the truth."""

    requests: int = 0
    finished: int = 0  # of the requests, those that were answered to the end; the others are cut, or under way
    prompt_tokens: int = 0
    cached_tokens: int = 0  # of the prompt's, those that the engine did not have to compute
    completion_tokens: int = 0

    def __add__(self, other: tuple[int, ...]) -> "Amount":  # type: ignore[override]  # a sum, not a longer tuple
        return Amount(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))


def minute_of(unix_s: float) -> int:
    return int(unix_s) // 60 * 60
