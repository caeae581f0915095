"""Whether a model learns where to stop: the token that ends a turn is trained, and only where the turn ends."""

from collections.abc import Iterator

from trainer.contract.report import Severity
from trainer.gate.facts import Facts, Flag
from trainer.gate.found import Found

_MOST = 0.5  # of the examples


def find_stops(facts: Facts) -> Iterator[Found]:
    lacks = facts.has(Flag.NO_STOP)
    if n := int(lacks.sum()):
        is_error = n >= _MOST * facts.n_examples
        yield Found(
            "stop_token",
            Severity.ERROR if is_error else Severity.WARNING,
            f"In {n} example(s) of the {facts.kind} file the token that ends the answer is not trained on, so that the "
            "model would not learn to stop. "
            + (
                "The tokenizer of the base model splits what its chat template ends a turn with; name another template."
                if is_error
                else "Look at how these answers end."
            ),
            facts.lines(lacks),
        )
    inside = facts.has(Flag.STOP_INSIDE)
    if n := int(inside.sum()):
        yield Found(
            "stop_token_inside",
            Severity.WARNING,
            f"{n} example(s) of the {facts.kind} file hold the model's stop token inside an answer, so that the model "
            "would learn to stop there. Remove it from the text; the chat template puts it where it belongs.",
            facts.lines(inside),
        )
