"""Deletes what has expired, and blobs that no row stands for: when the service starts, and while it runs."""

import logging
import time
from collections.abc import Callable, Sequence
from threading import Event

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from server.completion_exports.repository import forget_exports
from server.db.system_session import system_session
from server.files import repository as files
from server.idempotency import repository as requests
from server.idempotency.sending import KEY_WINDOW_S
from server.storage.blob_store import BlobKey, BlobStore, BlobStoreError
from server.storage.token_cache import TokenCache
from server.stored_completions.bounds import Asked as StoredBounds
from server.stored_completions.sweeping import forget_gone, sweep_completions
from server.uploads import repository as uploads
from server.vocabulary import UploadStatus
from server.webhooks import repository as webhooks

_LOG = logging.getLogger("tunesmith.worker")
_ORPHAN_GRACE_S = 3600.0  # a blob without a row may be of a request that is about to end
_REMEMBERED_S = 30 * 24 * 3600.0  # how long an upload that has ended, or an export, can say so
_LOGGED_S = 30 * 24 * 3600.0  # how long a webhook that was delivered or given up is in the log
_ROWS_AT_ONCE = 200  # in one transaction, which keeps other writers waiting


DeleteSome = Callable[[int], int]  # so many rows at most → how many it were


class Sweeper:
    """What it deletes nobody can see any more: it makes room, and nothing waits for it. Two at once do no harm."""

    def __init__(
        self,
        database: Engine,
        blobs: BlobStore,
        tokens: TokenCache,
        settings: StoredBounds,
        clock: Callable[[], float] = time.time,
        further: Sequence[DeleteSome] = (),
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._tokens = tokens
        self._settings = settings
        self._clock = clock  # unix seconds
        self._further = further  # what slices of their own sweep

    def run(self, stop: Event, *, expired_every_s: float = 10.0, orphans_every_s: float = 600.0) -> None:
        """Sweep until told to stop. A full disk or a busy database is left to the next time."""
        orphans_at = 0.0
        while not stop.is_set():
            try:
                self.sweep_expired()
                if time.monotonic() >= orphans_at:
                    orphans_at = time.monotonic() + orphans_every_s
                    self.sweep_orphans()
            except (DBAPIError, BlobStoreError, OSError) as error:
                _LOG.error("the sweep of expired files broke off: %s", type(error).__name__)
            stop.wait(expired_every_s)

    def sweep_expired(self) -> None:
        """Delete files, uploads, remembered requests, logged webhooks and stored completions whose time is over."""
        for delete_some in (
            self._delete_files,
            self._expire_uploads,
            self._forget_uploads,
            self._forget_requests,
            self._forget_webhooks,
            self._delete_completions,
            self._forget_gone_completions,
            self._forget_exports,
        ):
            while delete_some() == _ROWS_AT_ONCE:
                pass
        for sweep_some in self._further:
            while sweep_some(_ROWS_AT_ONCE) == _ROWS_AT_ONCE:
                pass

    def sweep_orphans(self) -> None:
        """Delete blobs that a killed process left, and the tokens of files that are gone."""
        with system_session(self._database) as session:
            file_ids = files.list_file_ids(session)
            known = file_ids | uploads.list_part_ids(session)
        self._tokens.sweep(is_known=file_ids.__contains__)
        self._blobs.sweep(before=self._clock() - _ORPHAN_GRACE_S, is_known=known.__contains__)

    def _delete_files(self) -> int:
        with system_session(self._database, write=True) as session:
            expired = files.list_expired(session, now=self._clock(), limit=_ROWS_AT_ONCE)
            for row in expired:
                session.delete(row)
        for row in expired:
            self._blobs.delete(BlobKey(row.id))
            self._tokens.delete(row.id)
        return len(expired)

    def _expire_uploads(self) -> int:
        part_ids: list[str] = []
        with system_session(self._database, write=True) as session:
            overdue = uploads.list_overdue(session, now=self._clock(), limit=_ROWS_AT_ONCE)
            for upload in overdue:
                upload.status = UploadStatus.EXPIRED
                part_ids += uploads.delete_parts(session, upload.id)
        for part_id in part_ids:
            self._blobs.delete(BlobKey(part_id))
        return len(overdue)

    def _forget_uploads(self) -> int:
        with system_session(self._database, write=True) as session:
            old = uploads.list_old(session, created_before=self._clock() - _REMEMBERED_S, limit=_ROWS_AT_ONCE)
            for upload in old:
                session.delete(upload)
        return len(old)

    def _forget_requests(self) -> int:
        with system_session(self._database, write=True) as session:
            return requests.forget_old(session, before=self._clock() - KEY_WINDOW_S, limit=_ROWS_AT_ONCE)

    def _forget_webhooks(self) -> int:
        with system_session(self._database, write=True) as session:
            old = webhooks.list_ended(session, before=self._clock() - _LOGGED_S, limit=_ROWS_AT_ONCE)
            for delivery in old:
                session.delete(delivery)
        return len(old)

    def _delete_completions(self) -> int:
        with system_session(self._database, write=True) as session:
            return sweep_completions(session, self._settings, now=self._clock(), limit=_ROWS_AT_ONCE)

    def _forget_gone_completions(self) -> int:
        with system_session(self._database, write=True) as session:
            return forget_gone(session, now=self._clock(), limit=_ROWS_AT_ONCE)

    def _forget_exports(self) -> int:
        with system_session(self._database, write=True) as session:
            return forget_exports(session, before=self._clock() - _REMEMBERED_S, limit=_ROWS_AT_ONCE)
