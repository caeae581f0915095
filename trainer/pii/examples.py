"""Personal data and secrets in whole examples: which lines hold them, and the examples without them."""

from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from trainer.contract.examples import ChatExample, Example, KtoExample, PreferenceExample, TextExample
from trainer.pii.finding import find_pii, redacted
from trainer.pii.match import Kind

AnyExample = TypeVar("AnyExample", bound=Example)
_PARTS: Mapping[type, tuple[str, ...]] = {
    ChatExample: ("messages", "tools"),
    TextExample: ("text",),
    PreferenceExample: ("messages", "tools", "preferred", "non_preferred"),
    KtoExample: ("messages", "tools", "completion"),
}  # of an example, where texts are
_FIXED_KEYS = frozenset({"role", "type", "tool_call_id", "id"})  # of messages and calls: never free text


@dataclass
class PiiTally:
    """What was found in one file so far; four bytes for each kind of an example that has any."""

    n_examples: int = 0
    n_matches: Counter[Kind] = field(default_factory=Counter)
    lines: "dict[Kind, array[int]]" = field(default_factory=dict)  # in the order of the file

    def add(self, line: int, kinds: Counter[Kind]) -> None:
        self.n_examples += 1
        self.n_matches.update(kinds)
        for kind in kinds:
            self.lines.setdefault(kind, array("I")).append(line)


def scan(example: Example, tally: PiiTally) -> None:
    """Count what is in an example."""
    kinds: Counter[Kind] = Counter()

    def count(text: str) -> str:
        kinds.update(match.kind for match in find_pii(text))
        return text

    _map_texts(example, count)
    if kinds:
        tally.add(example.line, kinds)


def redact(example: AnyExample, tally: PiiTally | None = None) -> AnyExample:
    """Give the example with a marker in the place of each match. The same example always becomes the same."""
    kinds: Counter[Kind] = Counter()

    def mark(text: str) -> str:
        matches = find_pii(text)
        kinds.update(match.kind for match in matches)
        return redacted(text, matches) if matches else text

    marked = _map_texts(example, mark)
    if not kinds:
        return example
    if tally is not None:
        tally.add(example.line, kinds)
    return marked


def _map_texts(example: AnyExample, change: Callable[[str], str]) -> AnyExample:
    """What is said before the answers, which of a preference are two, is looked at once."""
    return replace(example, **{part: map_strings(getattr(example, part), change) for part in _PARTS[type(example)]})


def map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """Change each string below a value, but keys and what has a fixed form. Examples are at most 100 levels deep."""
    match value:
        case str():
            return change(value)
        case dict():
            return {key: child if key in _FIXED_KEYS else map_strings(child, change) for key, child in value.items()}
        case list():
            return [map_strings(child, change) for child in value]
        case tuple():
            return tuple(map_strings(child, change) for child in value)
        case _:
            return value
