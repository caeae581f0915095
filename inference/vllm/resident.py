"""An adapter that is resident in an engine process, and a request's hold on it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from inference.engine import AdapterRef
from inference.examination import Examination
from inference.lending.lease import Ending
from inference.report import AdapterReport
from inference.residency import Place


@dataclass(eq=False)
class Resident:
    """What is known of an adapter that was admitted."""

    adapter: AdapterRef
    place: Place
    examination: Examination
    loaded_at: float  # unix seconds
    load_s: float
    check_s: float
    first_answer_s: float | None = None

    def describe(self) -> AdapterReport:
        return AdapterReport(
            name=self.adapter.name,
            sha256=self.adapter.sha256,
            loaded_at=self.loaded_at,
            load_s=round(self.load_s, 4),
            check_s=round(self.check_s, 4),
            first_answer_s=None if self.first_answer_s is None else round(self.first_answer_s, 4),
            proof=self.examination.proof,
            adapter_gap=self.examination.adapter_gap,
            base_gap=self.examination.base_gap,
            pins=self.place.pins,
        )


class Lease(Ending):
    """A hold on a resident adapter: one request's, or another process's for as many as it answers."""

    recall: Callable[[], None] | None = None  # asks another process to give back what it may keep without a request

    def __init__(self, resident: Resident, asked_at: float) -> None:
        self.resident = resident
        self._asked_at = asked_at  # monotonic

    def ask_back(self) -> None:
        """Ask for what is lent to another process, once."""
        recall, self.recall = self.recall, None
        if recall is not None:
            recall()

    def note_answer(self) -> None:
        """Note that the first bytes of the request's answer are here."""
        if self.resident.first_answer_s is None:
            self.resident.first_answer_s = time.monotonic() - self._asked_at
