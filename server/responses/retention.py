"""How long responses are kept, and how many bytes of them (pure)."""

from dataclasses import dataclass

_DAY_S = 24 * 3600
_MIB = 1024**2


@dataclass(frozen=True)
class Retention:
    days: int  # 0: none is kept, whatever a request says
    most_mib: int = 0  # of a project; 0: no bound

    @property
    def keeps(self) -> bool:
        return self.days > 0

    def since(self, now: float) -> float:
        """Give the time of the oldest that is still there; all are unix seconds."""
        return now - self.days * _DAY_S

    def excess(self, total_bytes: int) -> int:
        """Give how many bytes a project's responses take beyond what they may."""
        return total_bytes - self.most_mib * _MIB if self.most_mib else 0
