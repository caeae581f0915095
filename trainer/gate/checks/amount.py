"""Whether there are enough examples for what the file seems to teach."""

from collections.abc import Iterator

from trainer.contract.examples import MIN_EXAMPLES, too_few_examples
from trainer.contract.report import Severity, Task
from trainer.gate.facts import Facts
from trainer.gate.found import Found
from trainer.gate.task import MINIMUM_EXAMPLES

_FAR_TOO_FEW = 50
_FEW = 100


def find_too_little_text(n_pieces: int) -> Iterator[Found]:
    """Of the training file, by what its documents are split into: one can be a book."""
    if n_pieces < MIN_EXAMPLES:
        yield Found("too_few_examples", Severity.ERROR, f"{too_few_examples(n_pieces)} (documents, or pieces of them)")


def find_too_few(facts: Facts, task: Task) -> Iterator[Found]:
    """Of the training file, by the examples that can be used."""
    n = int(facts.used().sum())
    enough = max(_FEW, MINIMUM_EXAMPLES[task])
    if n < MIN_EXAMPLES:
        yield Found("too_few_examples", Severity.ERROR, f"{too_few_examples(n)} that can be used")
    elif n < enough:
        only = f"only {n} examples that can be used" + (": far too few to learn from" if n < _FAR_TOO_FEW else "")
        yield Found(
            "too_few_examples",
            Severity.WARNING,
            f"The training file has {only}. By its answers it teaches {task}, for which {enough} are the least that is "
            "advised. Add examples, or compare the result with the untuned model given some of them in its prompt.",
        )
