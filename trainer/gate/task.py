"""What a file seems to teach, guessed from the form of its answers."""

import numpy as np

from trainer.contract.report import Task
from trainer.gate.facts import Facts, Flag
from trainer.gate.form import Form

_MOST_CLASSES = 50
_FEWEST_OF_A_CLASS = 4  # examples, on average
_SHORT_CHARACTERS = 80  # of the answers of a classification, in the middle
_MOST_OF_ALL = 0.5

MINIMUM_EXAMPLES = {Task.CLASSIFICATION: 50, Task.EXTRACTION: 100, Task.CODE: 1000, Task.OTHER: 200}


def guess_task(facts: Facts) -> Task:
    used = facts.used()
    n_used = int(used.sum())
    if n_used == 0:
        return Task.OTHER
    n_classes = len(np.unique(facts.column("label")[used]))
    is_short = np.median(facts.column("output_characters")[used]) <= _SHORT_CHARACTERS
    if is_short and 2 <= n_classes <= min(_MOST_CLASSES, n_used // _FEWEST_OF_A_CLASS):
        return Task.CLASSIFICATION
    forms = facts.column("form")[used]
    if np.isin(forms, (Form.JSON_OBJECT, Form.JSON_LIST, Form.CALL)).mean() >= _MOST_OF_ALL:
        return Task.EXTRACTION
    if facts.has(Flag.LIKE_CODE)[used].mean() >= _MOST_OF_ALL:
        return Task.CODE
    return Task.OTHER
