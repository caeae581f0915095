"""`tunesmith webhooks`."""

from argparse import Namespace

from server.commands import repository
from server.commands.home import opened
from server.commands.repository import WebhookListing
from server.commands.table import local_time, table
from server.settings import Settings

_HEAD = ("DELIVERY", "PROJECT", "ENDPOINT", "EVENT", "OF", "HAPPENED", "STATUS", "TRIES", "LAST TRY", "NEXT TRY")
_SHOWN = 100


def run(asked: Namespace, settings: Settings) -> int:
    """Raises: CommandFailed."""
    with opened(settings) as database:
        found = repository.list_webhook_deliveries(database, status=asked.status, limit=_SHOWN)
    print(table(_HEAD, [_cells(listing) for listing in found]))
    return 0


def _cells(listing: WebhookListing) -> tuple[str, ...]:
    row = listing.delivery
    last = row.tries[-1] if row.tries else None
    return (
        row.id,
        listing.project,
        row.endpoint_id,
        row.event_type,
        row.object_id,
        local_time(row.created_at),
        row.status,
        str(row.n_tries),
        "" if last is None else str(last["status_code"] or last["outcome"] or "no outcome"),
        "" if row.due_at is None else local_time(int(row.due_at)),
    )
