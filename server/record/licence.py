"""The licence of a base model: what it says of itself, and the files that have to travel with what is made of it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)
_LEGAL_FILE = re.compile(r"(licen[cs]e|notice)([._-].*)?", re.IGNORECASE | re.ASCII)
_MAX_LEGAL_BYTES = 1024 * 1024
_MAX_VALUE = 500  # characters


@dataclass(frozen=True)
class Licence:
    """As the fields of a model card of the Hub say it."""

    id: str  # "apache-2.0", "other" with a name and a link, or "unknown"
    name: str | None = None
    link: str | None = None


UNKNOWN = Licence("unknown")


def find_licence(directory: Path) -> Licence:
    """From the front matter of the base's model card, or else its `config.json`.

    Raises:
        OSError: a file is there and cannot be read.
    """
    stated = parse_front_matter(_text(directory / "README.md"))
    if "license" in stated:
        return Licence(stated["license"], stated.get("license_name"), stated.get("license_link"))
    try:
        config = json.loads(_text(directory / "config.json") or "{}")
    except ValueError:
        return UNKNOWN
    stated_there = config.get("license") if isinstance(config, dict) else None
    return Licence(_clean(stated_there)) if isinstance(stated_there, str) and _clean(stated_there) else UNKNOWN


def parse_front_matter(text: str) -> dict[str, str]:
    """The fields about the licence in the front matter of a model card; of a list, its first entry.

    Reads the simple forms of YAML that such cards have.
    """
    block = _FRONT_MATTER.match(text)
    if block is None:
        return {}
    found = {}
    for field in ("license", "license_name", "license_link"):
        value = re.search(rf"^{field}:[ \t]*(?:\r?\n[ \t]*- )?(.*)$", block[1], re.MULTILINE)
        if value is not None and (cleaned := _clean(value[1])):
            found[field] = cleaned
    return found


def find_legal_files(directory: Path) -> list[Path]:
    """The files LICENSE*, LICENCE* and NOTICE* beside the weights, by name."""
    found = [path for path in directory.iterdir() if _LEGAL_FILE.fullmatch(path.name) and path.is_file()]
    return sorted(path for path in found if path.stat().st_size <= _MAX_LEGAL_BYTES)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _clean(value: str) -> str:
    bare = re.sub(r"\s+#.*$", "", value).strip().strip("[]").split(",")[0].strip().strip("'\"").strip()
    return bare if bare.isprintable() and len(bare) <= _MAX_VALUE else ""
