"""Personal data and secrets in a text, by patterns and check digits alone: no model, no network."""

import re
from collections.abc import Iterator

from trainer.pii.match import Kind, Match
from trainer.pii.number_patterns import find_numbers
from trainer.pii.secret_patterns import find_secrets

_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9](?:[\w.+-]{0,62}[A-Za-z0-9_])?@((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24})"
    r"(?![\w-])"
)
_RESERVED_DOMAINS = re.compile(r"(?i:(?:.*\.)?example\.(?:com|org|net)|.*\.(?:example|test|invalid|localhost|local))")
_ORDER = {kind: place for place, kind in enumerate(Kind)}


def find_pii(text: str) -> list[Match]:
    """Give the matches in the order of the text; of overlapping ones the longest."""
    found = [*_find_emails(text), *find_numbers(text), *find_secrets(text)]
    if len(found) < 2:
        return found
    kept: list[Match] = []
    for match in sorted(found, key=lambda match: (match.start - match.end, _ORDER[match.kind], match.start)):
        if all(match.end <= other.start or other.end <= match.start for other in kept):
            kept.append(match)
    return sorted(kept, key=lambda match: match.start)


def redacted(text: str, matches: list[Match]) -> str:
    """Put each match's marker in its place."""
    parts, end = [], 0
    for match in matches:
        parts += [text[end : match.start], match.kind.marker]
        end = match.end
    return "".join([*parts, text[end:]])


def _find_emails(text: str) -> Iterator[Match]:
    if "@" in text:
        for found in _EMAIL.finditer(text):
            if not _RESERVED_DOMAINS.fullmatch(found[1]):
                yield Match(Kind.EMAIL, *found.span())
