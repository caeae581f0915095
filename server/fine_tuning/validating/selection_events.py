"""What was chosen of a job's files → what its events say of it (pure)."""

from collections.abc import Iterator

from server.fine_tuning.lifecycle import NewEvent
from server.vocabulary import EventLevel
from trainer.contract.report import SelectionReport


def selection_events(chosen: SelectionReport | None) -> Iterator[NewEvent]:
    """What happened to the training file, in the order in which it was done; nothing, if nothing was."""
    if chosen is None:
        return
    seed = f"seed {chosen.seed}"
    if chosen.pilot is not None:
        yield NewEvent(
            f"This job is a pilot: it uses {chosen.pilot:,} of the {chosen.n_usable:,} example(s) of the training file "
            f"({seed})."
        )
    if chosen.holdout is not None:
        yield NewEvent(
            f"{chosen.n_held_out:,} of {chosen.n_own + chosen.n_held_out:,} example(s) are held out for validation, in "
            f"{chosen.n_groups_held_out:,} group(s) of what is the same or nearly the same ({seed})."
        )
    for mixed in chosen.mixed_in:
        yield NewEvent(
            f"{mixed.n_examples:,} example(s) of {mixed.file_id} are mixed into the {chosen.n_own:,} of the training "
            f"file, drawn from {mixed.n_usable:,} ({seed})."
        )
        if mixed.is_repeated:
            yield NewEvent(
                f"{mixed.file_id} has fewer usable examples ({mixed.n_usable:,}) than its ratio asks for "
                f"({mixed.n_examples:,}): some are trained on more than once. Lower the ratio, or add examples.",
                EventLevel.WARN,
            )
