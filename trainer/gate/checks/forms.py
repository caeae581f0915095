"""Whether the answers keep one form: the few that do not teach the model to break it now and then."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from trainer.contract.report import Severity
from trainer.gate.facts import Facts
from trainer.gate.form import Form
from trainer.gate.found import Found, percent

_MOST = 0.9  # of the examples: what the others should be, too
_MANY = 0.5
_ENOUGH_TO_TELL = 20  # examples
_STRICT = (Form.JSON_OBJECT, Form.JSON_LIST, Form.FENCED, Form.MARKUP)


def find_odd_forms(facts: Facts) -> Iterator[Found]:
    forms = facts.column("form")
    compared = facts.used() & (forms != Form.CALL) & (forms != Form.EMPTY)
    n = int(compared.sum())
    if n < _ENOUGH_TO_TELL:
        return
    usual = Form(int(np.bincount(forms[compared]).argmax()))
    is_odd = compared & (forms != usual)
    n_odd = int(is_odd.sum())
    if not n_odd or n - n_odd < _MANY * n:
        return
    is_strict = usual in _STRICT and n - n_odd >= _MOST * n
    yield Found(
        "output_format",
        Severity.WARNING if is_strict else Severity.INFO,
        f"{percent(n - n_odd, n)} of the answers of the {facts.kind} file are {usual.words}, and {n_odd} are not. "
        + ("Write those in the same form." if is_strict else "If that depends on the prompt, nothing is wrong."),
        facts.lines(is_odd),
    )


def find_odd_keys(facts: Facts) -> Iterator[Found]:
    is_object = facts.used() & (facts.column("form") == Form.JSON_OBJECT)
    keys = facts.column("keys")[is_object]
    if len(keys) < _ENOUGH_TO_TELL:
        return
    is_odd = _not_the_most_common(keys)
    n_odd = int(is_odd.sum())
    if n_odd and len(keys) - n_odd >= _MOST * len(keys):
        yield Found(
            "json_keys",
            Severity.WARNING,
            f"{percent(len(keys) - n_odd, len(keys))} of the JSON answers of the {facts.kind} file have the same keys, "
            f"and {n_odd} have others. Give all of them the same keys, with null where there is no value.",
            facts.lines(is_object)[is_odd],
        )


def _not_the_most_common(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    distinct, counts = np.unique(values, return_counts=True)
    is_other: npt.NDArray[np.bool_] = values != distinct[counts.argmax()]
    return is_other
