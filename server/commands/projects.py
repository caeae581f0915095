"""`tunesmith projects`."""

import sys
from argparse import Namespace
from getpass import getpass

from sqlalchemy import Engine

from server.commands import repository
from server.commands.failures import CommandFailed
from server.commands.home import opened
from server.commands.table import local_time, table
from server.settings import Settings


def run(asked: Namespace, settings: Settings) -> int:
    """Raises: CommandFailed."""
    with opened(settings) as database:
        if asked.action == "list":
            _list(database)
        else:
            _set_wandb_key(database, asked.project, None if asked.remove else _read_key())
    return 0


def _list(database: Engine) -> None:
    rows = [
        (project.id, project.name, project.slug, local_time(project.created_at), "set" if project.wandb_api_key else "")
        for project in repository.list_projects(database)
    ]
    print(table(("ID", "PROJECT", "NAME IN MODELS", "CREATED", "W&B KEY"), rows))


def _read_key() -> str:
    """Never an argument: those can be seen in the list of processes."""
    key = getpass("API key of Weights & Biases: ") if sys.stdin.isatty() else sys.stdin.readline()
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise CommandFailed("no key came in; give it on standard input, as one line")
    return key


def _set_wandb_key(database: Engine, project: str, key: str | None) -> None:
    if not repository.set_wandb_key(database, project, key):
        raise CommandFailed(f"there is no project {project}; `tunesmith projects list` shows those there are")
    print(f"jobs of {project} {'can' if key else 'can no longer'} be logged at Weights & Biases")
