"""Group the packages of a resolved constraints file by what needs them, so that scripts/install.sh can take a part."""

import re
import sys
from pathlib import Path

_HEAD = """\
# Every package, with its version and the hashes of its files: written by scripts/lock.sh, not by hand.
# A heading names the parts that need what follows it: server is in every part, test is for the test suite alone.
"""


def main() -> None:
    full, *parts = map(Path, sys.argv[1:])
    names = {part.name: {name for name, _ in _entries(part)} for part in parts}
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, text in _entries(full):
        if "+cpu" in text.split("\n", 1)[0]:
            continue  # torch, whose CPU build no public index carries: scripts/install.sh fixes it by its version
        needed_by = tuple(part for part in names if name in names[part]) or ("test",)
        groups.setdefault(("server",) if "server" in needed_by else needed_by, []).append(text)
    sections = (f"# [{' '.join(part)}]\n{''.join(groups[part])}" for part in sorted(groups, key=_order))
    sys.stdout.write(_HEAD + "\n" + "\n".join(sections))


def _entries(path: Path) -> list[tuple[str, str]]:
    """Return the name and the full text, hashes included, of each requirement."""
    found = re.findall(r"^(?:[A-Za-z0-9].*\n(?:[ ].*\n)*)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [(re.split(r"[\[=< ;@]", text, maxsplit=1)[0], text) for text in found]


def _order(part: tuple[str, ...]) -> tuple[int, int]:
    return (["server", "trainer", "inference", "test"].index(part[0]), -len(part))


if __name__ == "__main__":
    main()
