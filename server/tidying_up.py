"""What an API process does at its start about what earlier ones left."""

import logging
from functools import partial

from sqlalchemy.exc import DBAPIError

from server.bootstrap import Services, build_sweeper
from server.completion_exports.desk import delete_leftovers as delete_leftover_exports
from server.db.system_session import system_session
from server.fine_tuning.dry_runs.estimating import delete_leftovers
from server.models import repository as models
from server.models.service import delete_adapter_files
from server.record.manifest import find_hash
from server.storage.blob_store import BlobStoreError

_LOG = logging.getLogger("tunesmith.api")


def tidy_up(services: Services) -> None:
    """Delete what no row stands for any more: expired files, deleted models, uploads and estimates that broke off.

    What fails is left for another time: the service starts all the same.
    """
    sweeper, settings, locks = build_sweeper(services), services.settings, services.locks
    for tidy in (
        sweeper.sweep_expired,
        sweeper.sweep_orphans,
        partial(delete_leftovers, settings.estimates, locks),
        partial(delete_leftover_exports, settings.exports, locks),
        partial(_record_hashes, services),
        partial(_delete_adapters, services),
    ):
        try:
            tidy()
        except (DBAPIError, BlobStoreError, OSError) as error:
            _LOG.error("tidying up at the start broke off: %s", type(error).__name__)


def _record_hashes(services: Services) -> None:
    """Give the models of an older version the hashes that a newer one writes down when it publishes."""
    with system_session(services.database) as session:
        rows = models.list_without_hash(session)
    found = {row.name: find_hash(services.settings.adapters / row.directory) for row in rows}
    with system_session(services.database, write=True) as session:
        for name, sha256 in found.items():
            models.set_hash(session, name, sha256)


def _delete_adapters(services: Services) -> None:
    with system_session(services.database) as session:
        for deleted in models.list_deleted(session):
            delete_adapter_files(session, deleted, services.settings.adapters)
