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
        elif asked.action == "limits":
            _limits(database, asked, settings)
        else:
            _set_wandb_key(database, asked.project, None if asked.remove else _read_key())
    return 0


def _list(database: Engine) -> None:
    rows = [
        (project.id, project.name, project.slug, local_time(project.created_at), "set" if project.wandb_api_key else "")
        for project in repository.list_projects(database)
    ]
    print(table(("ID", "PROJECT", "NAME IN MODELS", "CREATED", "W&B KEY"), rows))


def _limits(database: Engine, asked: Namespace, settings: Settings) -> None:
    """Set those that were named, then show all."""
    names = {
        "requests_per_minute": "requests_per_minute",
        "tokens_per_minute": "tokens_per_minute",
        "concurrent_answers": "max_concurrent_answers",
        "stored_completion_days": "stored_completion_days",
        "stored_completion_mib": "stored_completion_mib",
    }
    changes = {column: getattr(asked, option) for option, column in names.items() if hasattr(asked, option)}
    project = repository.set_limits(database, asked.project, changes)
    if project is None:
        raise _unknown(asked.project)
    rows = [
        (option.replace("_", "-"), _in_words(getattr(project, column)), _in_words(getattr(settings, column) or 0))
        for option, column in names.items()
    ]
    print(table(("LIMIT", asked.project.upper(), "OF THE SETTINGS"), rows))


def _in_words(limit: int | None) -> str:
    return "default" if limit is None else str(limit or "unlimited")


def _unknown(project: str) -> CommandFailed:
    return CommandFailed(f"there is no project {project}; `tunesmith projects list` shows those there are")


def _read_key() -> str:
    """Never an argument: those can be seen in the list of processes."""
    key = getpass("API key of Weights & Biases: ") if sys.stdin.isatty() else sys.stdin.readline()
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise CommandFailed("no key came in; give it on standard input, as one line")
    return key


def _set_wandb_key(database: Engine, project: str, key: str | None) -> None:
    if not repository.set_wandb_key(database, project, key):
        raise _unknown(project)
    print(f"jobs of {project} {'can' if key else 'can no longer'} be logged at Weights & Biases")
