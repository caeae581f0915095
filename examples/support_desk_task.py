"""The task of the quickstart: sort a customer's message into a queue, and answer with exactly that as JSON."""

import json
from dataclasses import dataclass
from random import Random

from openai.types.chat import ChatCompletionMessageParam

INSTRUCTION = "Sort the message into a queue."

_OPENINGS = ("", "Hello, ", "Hi, ", "Good evening, ", "Dear support, ", "Quick question: ", "Please note: ")
_CLOSINGS = ("", ".", "!", " - please help", ", thanks", ". Waiting for your reply.", ". Best regards")

_QUEUES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "billing": (
        ("the invoice", "my last bill", "the yearly payment", "the charge on my card", "the receipt"),
        (
            "{s} is higher than agreed",
            "why did I pay for {s} twice",
            "I do not understand {s}",
            "there is a mistake in {s}",
        ),
    ),
    "delivery": (
        ("my parcel", "the order from Monday", "the package", "the courier", "the second box"),
        (
            "{s} is still not here",
            "when does {s} arrive",
            "{s} went to the wrong street",
            "I am waiting for {s} since last week",
        ),
    ),
    "access": (
        ("my password", "the login", "my account", "the code by email", "my username"),
        ("{s} does not work", "I forgot {s}", "{s} has been locked", "how can I change {s}"),
    ),
    "repair": (
        ("the screen", "the battery", "the left speaker", "the charger", "the keyboard"),
        ("{s} is broken", "{s} got too hot", "{s} makes a loud noise", "there is a crack in {s}"),
    ),
    "returns": (
        ("the jacket", "these shoes", "the gift", "the blue lamp", "both shirts"),
        ("I want to send back {s}", "how do I return {s}", "{s} does not fit", "{s} is not what I ordered"),
    ),
    "praise": (
        ("your team", "the new shop", "the app", "your service", "the woman on the phone"),
        ("{s} was wonderful", "I really love {s}", "many thanks to {s}", "five stars for {s}"),
    ),
}


@dataclass(frozen=True)
class Question:
    message: str
    answer: str  # the only right one

    def prompt(self) -> list[ChatCompletionMessageParam]:
        return [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": self.message}]

    def example(self) -> str:
        """The question and its answer as a line of a training file."""
        return json.dumps({"messages": [*self.prompt(), {"role": "assistant", "content": self.answer}]})


@dataclass(frozen=True)
class Task:
    """No message occurs twice, neither within a part nor in two of them."""

    training: list[Question]
    validation: list[Question]
    held_out: list[Question]


def build_task(seed: int, *, n_training: int = 500, n_validation: int = 60, n_held_out: int = 120) -> Task:
    """Draw the three parts. The same seed gives the same task."""
    r = Random(seed)
    questions: dict[str, Question] = {}
    while len(questions) < n_training + n_validation + n_held_out:
        question = _question(r)
        questions.setdefault(question.message, question)
    drawn = list(questions.values())
    first_held_out = n_training + n_validation
    return Task(drawn[:n_training], drawn[n_training:first_held_out], drawn[first_held_out:])


def training_file(questions: list[Question]) -> bytes:
    """The questions as JSON Lines."""
    return "".join(question.example() + "\n" for question in questions).encode()


def _question(r: Random) -> Question:
    queue = r.choice(sorted(_QUEUES))
    subjects, patterns = _QUEUES[queue]
    text = r.choice(_OPENINGS) + r.choice(patterns).format(s=r.choice(subjects)) + r.choice(_CLOSINGS)
    return Question(text[0].upper() + text[1:], json.dumps({"queue": queue}))
