"""What an import has done so far, in numbers and in lines for the operator."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

_IDS_SHOWN = 20


@dataclass
class Section:
    """One kind of objects."""

    name: str  # in the plural, as it is shown
    say: Callable[[str], None]
    show: Callable[[str], None]
    copied: int = 0
    present: int = 0  # copied by an earlier run
    bytes: int = 0
    failed: int = 0
    not_copied: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # ids by reason
    not_offered: str | None = None
    verb: str = "copied"

    @property
    def seen(self) -> int:
        return self.copied + self.present + self.failed + sum(map(len, self.not_copied.values()))

    def add(self, size_bytes: int = 0) -> None:
        self.copied += 1
        self.bytes += size_bytes
        self._progress()

    def add_present(self) -> None:
        self.present += 1
        self._progress()

    def add_not_copied(self, object_id: str, reason: str) -> None:
        """It cannot be copied, and that is nobody's fault."""
        self.not_copied[reason].append(object_id)
        self._progress()

    def add_failed(self, object_id: str, reason: str) -> None:
        self.failed += 1
        self.say(f"failed: {object_id}: {reason}")

    def lines(self) -> list[str]:
        """The summary."""
        if self.not_offered is not None:
            return [f"{self.name}: not offered there ({self.not_offered})"]
        amount = f" ({_size(self.bytes)})" if self.bytes else ""
        parts = [f"{self.copied} {self.verb}{amount}"]
        left_out = sum(map(len, self.not_copied.values()))
        for count, what in ((self.present, "were here"), (left_out, f"not {self.verb}"), (self.failed, "failed")):
            parts += [f"{count} {what}"] if count else []
        return [f"{self.name}: {', '.join(parts)}", *map(_reason, self.not_copied.items())]

    def _progress(self) -> None:
        self.show(f"{self.name}: {self.seen}")


@dataclass
class Report:
    """`say` is for lines that stay, `show` for where the import is; both get one line without its end."""

    say: Callable[[str], None]
    show: Callable[[str], None] = lambda _: None
    sections: list[Section] = field(default_factory=list)

    def section(self, name: str, verb: str = "copied") -> Section:
        section = Section(name, self.say, self.show, verb=verb)
        self.sections.append(section)
        return section

    @property
    def failed(self) -> int:
        return sum(section.failed for section in self.sections)

    def summarise(self) -> None:
        for section in self.sections:
            for line in section.lines():
                self.say(line)


def _reason(item: tuple[str, list[str]]) -> str:
    reason, ids = item
    more = f" and {len(ids) - _IDS_SHOWN} more" if len(ids) > _IDS_SHOWN else ""
    return f"  {len(ids)} because: {reason}: {', '.join(ids[:_IDS_SHOWN])}{more}"


def _size(size_bytes: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} bytes"
