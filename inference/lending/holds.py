"""Which adapters a borrower holds, for how many requests, and what is to be done when one has ended (pure)."""

from dataclasses import dataclass
from enum import Enum, auto

from inference.engine import AdapterRef


class Then(Enum):
    """What is to be done with a hold."""

    NOTHING = auto()
    LINGER = auto()  # keep it for a moment: the next request for a hot adapter need not ask
    RELEASE = auto()


@dataclass(eq=False)
class Hold:
    id: int
    adapter: AdapterRef
    uses: int = 0  # requests under way
    is_granted: bool = False
    is_closed: bool = False  # no request may begin with it


class HoldBooks:
    """The holds of one connection to the lender, or of several one after the other: an id is never used again."""

    def __init__(self) -> None:
        self._last_id = 0
        self._by_id: dict[int, Hold] = {}
        self._open: dict[AdapterRef, Hold] = {}  # those with which a request may begin

    def new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def find(self, hold_id: int) -> Hold | None:
        return self._by_id.get(hold_id)

    def begin(self, adapter: AdapterRef) -> Hold:
        """Note that a request uses an adapter; its first use is to be asked for. End with `end`."""
        hold = self._open.get(adapter)
        if hold is None:
            hold = self._open[adapter] = Hold(self.new_id(), adapter)
            self._by_id[hold.id] = hold
        hold.uses += 1
        return hold

    def end(self, hold: Hold) -> Then:
        """Note that such a request has ended, or has given up waiting."""
        hold.uses -= 1
        if hold.uses or hold.id not in self._by_id:
            return Then.NOTHING
        if hold.is_granted and not hold.is_closed:
            return Then.LINGER
        return self._release(hold)

    def close(self, hold: Hold) -> Then:
        """Let no request begin with it any more. Idempotent."""
        hold.is_closed = True
        if self._open.get(hold.adapter) is hold:
            del self._open[hold.adapter]
        return Then.NOTHING if hold.uses or hold.id not in self._by_id else self._release(hold)

    def drop(self, hold: Hold) -> None:
        """Note that the lender no longer knows it."""
        self._by_id.pop(hold.id, None)
        self.close(hold)

    def of_base(self, base_model: str) -> list[Hold]:
        return [hold for hold in self._by_id.values() if hold.adapter.base_model == base_model]

    def all(self) -> list[Hold]:
        return list(self._by_id.values())

    def _release(self, hold: Hold) -> Then:
        self.drop(hold)
        return Then.RELEASE
