"""Words for an engine's answer to a relayed request."""

from dataclasses import dataclass


class AnswerUnusable(Exception):
    """The engine's answer is not one to pass on: an error, another model's, or not an answer at all."""


class AnswerRefused(AnswerUnusable):
    """The engine says in its stream, where its status is already 200, that it refuses the request."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__("the engine refused the request")
        self.status = status
        self.body = body


@dataclass(frozen=True)
class Naming:
    """One model, two names."""

    asked: str  # as the client knows it
    engine: str  # as the engine does
