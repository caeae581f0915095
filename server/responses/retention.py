"""How long responses are kept (pure)."""

from dataclasses import dataclass

_DAY_S = 24 * 3600


@dataclass(frozen=True)
class Retention:
    days: int  # 0: none is kept, whatever a request says

    @property
    def keeps(self) -> bool:
        return self.days > 0

    def since(self, now: float) -> float:
        """Give the time of the oldest that is still there; all are unix seconds."""
        return now - self.days * _DAY_S
