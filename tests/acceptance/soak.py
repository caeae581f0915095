"""What the soak asks, of whom, and what it noted of every answer."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import openai

PROMPTS = (
    "Tell me a story about a river.",
    "The parcel is broken, what now?",
    "How many legs do three dogs have?",
    "My last bill is higher than agreed.",
)
MAX_TOKENS = 24
HEADER = "x-tunesmith-adapter"
_PAUSE_S = 0.2  # after a refusal


@dataclass(frozen=True)
class Said:
    """A whole answer: its text and what it is counted as."""

    text: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Model:
    """A model with the key that may use it, its header and its answers while nothing else was going on."""

    name: str
    project: str
    client: openai.OpenAI
    header: str
    answers: dict[str, Said] = field(default_factory=dict)  # by prompt


@dataclass(frozen=True)
class Note:
    """One request and what came of it."""

    model: str
    project: str
    outcome: str  # "whole", "left" (by the client), "broken" (an error in the stream), "refused"
    received: int = 0  # pieces of text that came, at most one a token
    said: Said | None = None  # of a whole answer
    fault: str | None = None  # what must not be
    status: int = 200


def options(model: Model, prompt: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {"model": model.name, "messages": messages, "temperature": 0, "max_tokens": MAX_TOKENS}


def ask_whole(model: Model, prompt: str) -> Note:
    raw = model.client.chat.completions.with_raw_response.create(**options(model, prompt))
    answer = raw.parse()
    said = Said(answer.choices[0].message.content or "", answer.usage.prompt_tokens, answer.usage.completion_tokens)
    return judge(model, prompt, said, raw.headers.get(HEADER))


def ask_streamed(model: Model, prompt: str, *, leave_after: int | None = None) -> Note:
    """Ask for a stream; `leave_after` so many pieces of text the client goes away."""
    raw = model.client.chat.completions.with_raw_response.create(
        **options(model, prompt), stream=True, stream_options={"include_usage": True}
    )
    pieces: list[str] = []
    usage = finish = None
    with raw.parse() as chunks:
        try:
            for chunk in chunks:
                pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
                finish = next((choice.finish_reason for choice in chunk.choices if choice.finish_reason), finish)
                usage = chunk.usage or usage
                if leave_after is not None and len(pieces) >= leave_after:
                    return Note(model.name, model.project, "left", received=len(pieces))
        except openai.APIError:
            return Note(model.name, model.project, "broken", received=len(pieces))
    if finish is None or usage is None:
        return Note(model.name, model.project, "whole", fault="a stream ended as if it were whole, and was cut")
    said = Said("".join(pieces), usage.prompt_tokens, usage.completion_tokens)
    return judge(model, prompt, said, raw.headers.get(HEADER))


def judge(model: Model, prompt: str, said: Said, header: str | None) -> Note:
    fault = None
    if header != model.header:
        fault = f"the header was {header}"
    elif model.answers and said != model.answers[prompt]:
        fault = "another answer than before"
    return Note(model.name, model.project, "whole", said=said, fault=fault)


class Player(threading.Thread):
    """Asks at random until told to stop, and notes everything."""

    def __init__(self, seed: int, models: Sequence[Model], has_ended: Callable[[], bool]) -> None:
        super().__init__(daemon=True)
        self.notes: list[Note] = []
        self._chance = random.Random(seed)
        self._models = models
        self._has_ended = has_ended

    def run(self) -> None:
        while not self._has_ended():
            model, prompt = self._chance.choice(self._models), self._chance.choice(PROMPTS)
            self.notes.append(self._ask(model, prompt))

    def _ask(self, model: Model, prompt: str) -> Note:
        try:
            match self._chance.randrange(4):
                case 0:
                    return ask_whole(model, prompt)
                case 1:
                    return ask_streamed(model, prompt, leave_after=self._chance.randint(1, 8))
                case _:
                    return ask_streamed(model, prompt)
        except openai.APIStatusError as error:
            is_expected = error.status_code == 503 and error.response.headers.get("retry-after")
            fault = None if is_expected else f"refused with {error.status_code}: {error.code}"
            time.sleep(_PAUSE_S)
            return Note(model.name, model.project, "refused", status=error.status_code, fault=fault)
        except openai.APIConnectionError:
            return Note(model.name, model.project, "broken", fault="the connection was cut without a word")
