"""`tunesmith usage`."""

import time
from argparse import Namespace

from server.commands import repository
from server.commands.home import opened
from server.commands.table import table
from server.metering.folding import Folder
from server.metering.repository import sum_usage
from server.metering.sums import UsageFilter, UsageSum
from server.settings import Settings

_SINCE_S = 30 * 24 * 3600
_EVER_S = 2**40  # one bucket for all of it
_HEAD = ("PROJECT", "MODEL", "BASE MODEL", "REQUESTS", "CUT", "PROMPT TOKENS", "OF THEM CACHED", "COMPLETION TOKENS")


def run(asked: Namespace, settings: Settings) -> int:
    """Raises: CommandFailed."""
    until = asked.until or int(time.time()) + 60
    since = asked.since if asked.since is not None else until - _SINCE_S
    with opened(settings) as database:
        Folder(database, settings.usage).fold()
        names = {project.id: project.name for project in repository.list_projects(database)}
        chosen = UsageFilter(since=since, until=until)
        sums = sum_usage(database, chosen, width_s=_EVER_S, group_by=["project_id", "model", "base_model"])
    rows = sorted((names.get(found.group["project_id"], ""), *_cells(found)) for found in sums)
    print(table(_HEAD, rows))
    return 0


def _cells(found: UsageSum) -> tuple[str, ...]:
    amount = found.amount
    counts = (
        amount.requests,
        amount.requests - amount.finished,
        amount.prompt_tokens,
        amount.cached_tokens,
        amount.completion_tokens,
    )
    return (found.group["model"], found.group["base_model"], *map(str, counts))
