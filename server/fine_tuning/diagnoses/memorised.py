"""Memorised: every token of the training examples is predicted right, and others are not, or nobody looked."""

from server.fine_tuning.diagnoses.course import Course
from server.fine_tuning.diagnoses.finding import Diagnosis, Finding, percent

_PERFECT = 0.995  # of the tokens, over a whole epoch
_GAP = 0.05  # of the accuracy
_TIMES, _NATS = 3.0, 0.2  # the validation loss over the training loss
_FEW_EXAMPLES, _MANY_EPOCHS = 100, 4
_KNOWN_UNSEEN = 0.95


def find(course: Course) -> Finding | None:
    epochs = course.complete_epochs
    if len(epochs) < 2 or epochs[-1].accuracy.mean < _PERFECT:
        return None
    last, facts = epochs[-1], course.facts
    if last.valid_loss is not None and last.valid_accuracy is not None:
        is_apart = last.valid_loss > max(_TIMES * last.loss.mean, last.loss.mean + _NATS)
        if not is_apart or last.accuracy.mean - last.valid_accuracy < _GAP:
            return None
        what = (
            f"{percent(last.accuracy.mean)} of the training tokens are predicted right, and "
            f"{percent(last.valid_accuracy)} of those in the validation file"
        )
        evidence = {"valid_accuracy": last.valid_accuracy, "valid_loss": last.valid_loss}
        advice = "An earlier checkpoint may do better on what it has not seen."
    else:
        # In the first epoch no example had been seen before: who knew them then has learnt the task, not the examples.
        unseen = epochs[0].late_accuracy.mean
        is_small = facts.n_examples < _FEW_EXAMPLES and len(epochs) >= _MANY_EPOCHS
        if facts.n_validation or not is_small or unseen >= _KNOWN_UNSEEN:
            return None
        what = (
            f"{percent(last.accuracy.mean)} of the tokens of {facts.n_examples} examples are predicted right after "
            f"{len(epochs)} epochs, and {percent(unseen)} were when the examples were new; there is no validation file "
            "to tell what was learnt from what was learnt by heart"
        )
        evidence = {"unseen_accuracy": unseen, "n_examples": facts.n_examples}
        advice = "Give a validation_file next time, and ask the model something that is not in the training file."
    return Finding(
        Diagnosis.MEMORISED,
        f"The training examples are memorised: {what}. {advice} More and more varied examples cure it; fewer epochs "
        "or a lower learning_rate_multiplier soften it.",
        {"epoch": len(epochs), "accuracy": last.accuracy.mean, "loss": last.loss.mean, **evidence},
    )
