"""Puts the parts of an upload together: the bytes without the database's lock, then file and upload at once."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

from server.auth.dependencies import ProjectDatabase
from server.db.project_session import ProjectSession
from server.idempotency.asked import Asked
from server.idempotency.once import Answer, Once
from server.ids import new_file_id
from server.name_locks import HeldName, NameLocks
from server.storage.blob_store import BlobInfo, BlobKey, BlobMissing, BlobStore
from server.uploads import service
from server.uploads.rules import check_md5
from server.uploads.schemas import CompleteUploadRequest, Upload
from server.uploads.service import JoinedParts

_AT_ONCE = 2  # of one project; each reads and writes gigabytes
_LOOK_S = 0.05

Result = TypeVar("Result")


class Completions:
    """Who completes what now, in any process that answers clients. In this one they wait in the order they came."""

    def __init__(self, locks: NameLocks) -> None:
        self._locks = locks
        self._uploads: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._projects: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def run(self, project_id: str, upload_id: str, work: Callable[[], Result]) -> Result:
        """Do the work in a thread: that for one upload one after the other, and for a project a little at once."""
        upload = self._uploads.setdefault((project_id, upload_id), asyncio.Lock())
        project = self._projects.setdefault(project_id, asyncio.Semaphore(_AT_ONCE))
        async with upload, project:
            with (
                await _until_held(partial(self._locks.take, "completion of upload", project_id, upload_id)),
                await _until_held(partial(self._locks.take_one, _AT_ONCE, "completions of project", project_id)),
            ):
                return await asyncio.to_thread(work)  # in none of the threads that short requests use


async def _until_held(take: Callable[[], HeldName | None]) -> HeldName:
    """Wait for other processes; the kernel tells nobody when they are done."""
    while (held := take()) is None:
        await asyncio.sleep(_LOOK_S)
    return held


@dataclass(frozen=True)
class Completion:
    """One request to complete an upload.

    A kill before the commit leaves the upload pending with its parts; one after it, a file. The rest has no row and is
    swept.
    """

    database: ProjectDatabase
    blobs: BlobStore
    upload_id: str
    asked: CompleteUploadRequest

    def run(self, once: Once) -> Answer:
        """Raises: NotFound, InvalidRequest, BlobStoreFull."""
        with once.alone():
            parts = self._find_parts()
            joined = None if parts is None else self._join(parts)
            return self._commit(once, joined)

    def _find_parts(self) -> list[BlobKey] | None:
        with self.database.read() as session:
            return service.find_parts_to_join(session, self.upload_id, self.asked)

    def _commit(self, once: Once, joined: JoinedParts | None) -> Answer:
        left_over: list[str] = [] if joined is None else [joined.file_id]
        used_parts: list[str] = []

        def complete(session: ProjectSession) -> Upload:
            used_parts.extend(service.complete_upload(session, self.upload_id, self.asked, joined))
            session.flush()
            return service.describe_upload(session, self.upload_id)

        def find(session: ProjectSession, _id: str) -> Upload:
            return service.describe_upload(session, self.upload_id)

        asked = Asked("completeUpload", {"upload_id": self.upload_id, **self.asked.model_dump()})
        try:
            answer = once.act(asked, do=complete, find=find)
            left_over = used_parts or left_over
        finally:
            for key in left_over:
                self.blobs.delete(BlobKey(key))
        return answer

    def _join(self, parts: Sequence[BlobKey]) -> JoinedParts | None:
        file_id = new_file_id()
        try:
            return JoinedParts(file_id, join(self.blobs, parts, BlobKey(file_id), md5=self.asked.md5))
        except BlobMissing:
            if self._find_parts() is None:  # else it says how the upload has ended meanwhile
                return None
            raise


def join(blobs: BlobStore, parts: Sequence[BlobKey], key: BlobKey, *, md5: str | None) -> BlobInfo:
    """Write the parts one after the other as one blob, in constant memory.

    Raises:
        InvalidRequest: the result has another MD5; nothing of it is kept.
        BlobMissing, BlobStoreFull: likewise.
    """
    digest = hashlib.md5(usedforsecurity=False)
    with blobs.writer(key) as writer:
        for part in parts:
            for chunk in blobs.open(part):
                writer.write(chunk)
                if md5 is not None:
                    digest.update(chunk)
        check_md5(md5, digest.hexdigest())
        return writer.commit()
