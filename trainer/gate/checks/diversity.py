"""Whether the examples are many, or one many times over."""

from collections.abc import Iterator

from trainer.contract.report import Severity, Task
from trainer.gate.facts import Facts
from trainer.gate.found import Found, percent
from trainer.gate.likeness import Likeness, largest_group

_TOO_MANY = 0.5  # of the examples
_MANY = 0.3
_ENOUGH_TO_TELL = 20  # examples


def find_sameness(facts: Facts, task: Task, likeness: Likeness) -> Iterator[Found]:
    """Of the training file."""
    if facts.n_examples < _ENOUGH_TO_TELL:
        return
    parts = {"prompt": likeness.prompts}
    if task in (Task.OTHER, Task.CODE):
        parts["answer"] = likeness.outputs
    for part, leaders in parts.items():
        chosen = largest_group(leaders)
        n = int(chosen.sum())
        if n >= _MANY * facts.n_examples:
            yield Found(
                "diversity",
                Severity.WARNING if n >= _TOO_MANY * facts.n_examples else Severity.INFO,
                f"{n} example(s) of the training file ({percent(n, facts.n_examples)}) have nearly the same {part}. "
                "Add examples of other kinds, as many as the model will meet.",
                facts.lines(chosen),
            )
