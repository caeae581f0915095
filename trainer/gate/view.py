"""One example as the checks see it: its parts, and what is counted of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from trainer.contract.examples import ChatExample
from trainer.contract.messages import JsonObject
from trainer.conversations import conversations_of
from trainer.tokenising import WholeExample

_SYSTEM_ROLES = ("system", "developer")


@dataclass(frozen=True)
class OtherAnswer:
    """Of a preference: the answer that is not preferred, with its tokens and the prompt's before it."""

    message: JsonObject
    input_ids_L: npt.NDArray[np.int32]
    trained_L: npt.NDArray[np.bool_]

    @property
    def output(self) -> str:
        return _text(self.message).strip()


@dataclass(frozen=True)
class View:
    """An example with its tokens; of a preference, with the preferred answer.

    Shapes: L length of the example in tokens, before cutting.
    """

    example: ChatExample
    input_ids_L: npt.NDArray[np.int32]
    trained_L: npt.NDArray[np.bool_]  # the loss mask
    limit_tokens: int  # what lies beyond is cut
    other: OtherAnswer | None = None
    is_desirable: bool = True  # whether the answer is one to give

    @cached_property
    def answer_index(self) -> int:
        return _answer_index(self.example)

    @property
    def has_input(self) -> bool:
        """Whether somebody else than the system speaks before the answer."""
        return any(message["role"] not in _SYSTEM_ROLES for message in self.example.messages[: self.answer_index])

    @cached_property
    def answer(self) -> JsonObject:
        return self.example.messages[self.answer_index]

    @cached_property
    def output(self) -> str:
        """The words of the last answer, and its calls."""
        return _text(self.answer).strip()

    @cached_property
    def prompt(self) -> str:
        return prompt_of(self.example)

    @property
    def system(self) -> str | None:
        """The system's words; None if it says nothing."""
        said = [message["content"] for message in self.example.messages if message["role"] in _SYSTEM_ROLES]
        return "\n\n".join(said) or None

    def answers(self) -> Iterator[JsonObject]:
        """The messages that are trained on."""
        pairs = zip(self.example.messages, self.example.trained, strict=True)
        return (message for message, is_trained in pairs if is_trained)

    def input_bytes(self) -> bytes:
        """Everything that the last answer depends on."""
        return orjson.dumps([self.example.messages[: self.answer_index], self.example.tools])

    def whole_bytes(self) -> bytes:
        parts: list[Any] = [self.example.messages, self.example.trained, self.example.tools]
        if self.other is not None:
            parts.append(self.other.message)
        return orjson.dumps(parts if self.is_desirable else [*parts, False])

    def n_characters(self) -> int:
        return sum(len(message["content"]) for message in self.example.messages)


def view_of(whole: WholeExample, limit_tokens: int) -> View:
    """The view of an example that was tokenised."""
    preferred, *others = conversations_of(whole.example)
    first, *rest = whole.tokens
    other = OtherAnswer(others[0].messages[-1], rest[0].input_ids_L, rest[0].trained_L) if others else None
    return View(preferred, first.input_ids_L, first.trained_L, limit_tokens, other, first.is_desirable)


def prompt_of(example: ChatExample) -> str:
    """What is said before the last answer, without the system's words."""
    before = example.messages[: _answer_index(example)]
    return "\n".join(_text(message) for message in before if message["role"] not in _SYSTEM_ROLES)


def _answer_index(example: ChatExample) -> int:
    """Where the last answer that is trained on is among the messages; the last message if there is none."""
    trained = [index for index, is_trained in enumerate(example.trained) if is_trained]
    return trained[-1] if trained else len(example.messages) - 1


def _text(message: JsonObject) -> str:
    calls = message.get("tool_calls")
    return message["content"] + orjson.dumps(calls).decode() if calls else str(message["content"])
