"""`tunesmith keys`."""

import sys
from argparse import Namespace

from sqlalchemy import Engine

from server.auth.api_keys import create_key, list_keys, revoke_key
from server.commands.failures import CommandFailed
from server.commands.home import opened
from server.commands.table import local_time, table
from server.settings import Settings


def run(asked: Namespace, settings: Settings) -> int:
    """Raises: CommandFailed."""
    with opened(settings) as database:
        match asked.action:
            case "create":
                _create(database, asked.project, is_admin=asked.admin)
            case "list":
                _list(database)
            case _:
                _revoke(database, asked.key_id)
    return 0


def _create(database: Engine, project: str, *, is_admin: bool) -> None:
    """The key is all there is on stdout, so that a script can take it."""
    key = create_key(database, project, is_admin=is_admin)
    rights = " with administration rights" if is_admin else ""
    print(key.plaintext, flush=True)
    print(f"{key.id} of the project {project}{rights}; it is shown this once", file=sys.stderr)


def _list(database: Engine) -> None:
    rows = [
        (
            key.id,
            key.project,
            "admin" if key.is_admin else "",
            key.hint,
            local_time(key.created_at),
            "valid" if key.revoked_at is None else f"revoked {local_time(key.revoked_at)}",
        )
        for key in list_keys(database)
    ]
    print(table(("ID", "PROJECT", "RIGHTS", "KEY", "CREATED", "STATE"), rows))


def _revoke(database: Engine, key_id: str) -> None:
    if not revoke_key(database, key_id):
        raise CommandFailed(f"there is no key {key_id}; `tunesmith keys list` shows the ids there are")
    print(f"{key_id} is revoked")
