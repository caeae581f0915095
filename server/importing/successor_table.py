"""Which base model here stands in for which of the account's: a TOML file of lines `"theirs" = "ours"`."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from server.base_models import BaseModels, Kind
from server.importing.errors import ImportFailed

_DATE = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{4})$")  # of a snapshot: gpt-4o-mini-2024-07-18, gpt-3.5-turbo-0125


def read_table(path: Path, base_models: BaseModels) -> dict[str, str]:
    """Raises: ImportFailed: it cannot be read, or names a base that is not offered here."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ImportFailed(f"cannot read the table {path}: {error}") from error
    table = {theirs: ours for theirs, ours in told.items() if isinstance(ours, str)}
    if not table or len(table) < len(told):
        raise ImportFailed(f'{path}: expected lines such as "gpt-4o-mini-2024-07-18" = "{base_models.entries[0].name}"')
    for ours in table.values():
        base = base_models.find(ours)
        if base is None or base.kind is not Kind.CHAT:
            offered = ", ".join(entry.name for entry in base_models.entries if entry.kind is Kind.CHAT)
            raise ImportFailed(f"{path}: there is no base model {ours!r} to train here; there are: {offered}")
    return table


def find_successor(table: Mapping[str, str], model: str) -> str | None:
    """The base here for a model of the account's; the name without its date stands for all its snapshots."""
    return table.get(model) or table.get(_DATE.sub("", model))
