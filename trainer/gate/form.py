"""What an answer looks like: JSON, a block of code, prose, and which words it is made of."""

import re
from collections import Counter
from enum import IntEnum
from itertools import groupby
from typing import Any

import orjson

_LIKE_CODE = re.compile(
    r"^\s*(?:def |class |import |from \w+ import |#include|function |const |let |var |public |private |fn |package |"
    r"SELECT |INSERT |CREATE |<\?php|#!/)|[;{}]\s*$",
    re.MULTILINE,
)
_WORDS = re.compile(r"\w+")
_REPEATED_IN_A_ROW = 8
_FEW_WORDS = 20  # of fewer, one may be half
_MOST_OF_ALL = 0.5


class Form(IntEnum):
    EMPTY = 0
    TEXT = 1
    JSON_OBJECT = 2
    JSON_LIST = 3
    FENCED = 4  # a code fence is all of it, or begins it
    MARKUP = 5
    CALL = 6

    @property
    def words(self) -> str:
        return _NAMES[self]


_NAMES = {
    Form.EMPTY: "nothing",
    Form.TEXT: "plain text",
    Form.JSON_OBJECT: "a JSON object",
    Form.JSON_LIST: "a JSON list",
    Form.FENCED: "a code fence",
    Form.MARKUP: "markup",
    Form.CALL: "a tool call",
}


def form_of(output: str) -> tuple[Form, tuple[str, ...]]:
    """The form of an answer without white space around it, and the keys of a JSON object in their order."""
    if not output:
        return Form.EMPTY, ()
    if output[0] in "{[":
        return _json_form(output)
    if output.startswith("```"):
        return Form.FENCED, ()
    if output[0] == "<" and output[-1] == ">":
        return Form.MARKUP, ()
    return Form.TEXT, ()


def is_like_code(output: str) -> bool:
    return output.startswith("```") or len(_LIKE_CODE.findall(output)) * 4 >= output.count("\n") + 2


def repeats_a_word(text: str) -> bool:
    """Whether one word stands many times in a row, or is most of a text that is not short."""
    words = _WORDS.findall(text)
    if len(words) < _REPEATED_IN_A_ROW:
        return False
    if len(words) >= _FEW_WORDS:
        (_, most), *_ = Counter(words).most_common(1)
        if most >= _MOST_OF_ALL * len(words):
            return True
        if most < _REPEATED_IN_A_ROW:
            return False
    return any(sum(1 for _ in same) >= _REPEATED_IN_A_ROW for _, same in groupby(words))


def label_of(output: str) -> str:
    """The answer without what may differ between two spellings of one class: case, punctuation, white space."""
    return " ".join(_WORDS.findall(output.casefold())) or output


def _json_form(output: str) -> tuple[Form, tuple[str, ...]]:
    try:
        value: Any = orjson.loads(output)
    except orjson.JSONDecodeError:
        return Form.TEXT, ()
    return (Form.JSON_OBJECT, tuple(sorted(value))) if isinstance(value, dict) else (Form.JSON_LIST, ())
