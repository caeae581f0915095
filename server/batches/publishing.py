"""The results of a batch → its output and error files, which are there with its last status or not at all."""

from collections.abc import Iterable, Iterator

from sqlalchemy import Engine

from server.batches import repository
from server.batches.lifecycle import ending
from server.batches.outcomes import Kind
from server.batches.results import Result, ResultsFile, read_results
from server.db.tables import BatchRow, FileRow
from server.files.expiry import ExpiresAfter, expires_at
from server.ids import new_file_id
from server.storage.blob_store import BlobKey, BlobStore
from server.vocabulary import FilePurpose

_CHUNK_BYTES = 256 * 1024


def publish(database: Engine, blobs: BlobStore, batch: BatchRow, results: ResultsFile, *, now: float) -> None:
    """End a batch whose requests all have a result. After a kill it is done again: blobs without a file are swept.

    Raises: BlobStoreFull.
    """
    tally, total = results.tally, len(results.is_answered)
    answered = (result for result in read_results(results.path, total) if result.outcome.kind is Kind.ANSWERED)
    others = (result for result in read_results(results.path, total) if result.outcome.kind is not Kind.ANSWERED)
    output = _write(blobs, batch, "output", answered, now) if tally.completed else None
    errors = _write(blobs, batch, "error", others, now) if tally.failed else None
    status = ending(batch.status, n_expired=tally.expired)
    if not repository.finish(database, batch.id, status, output=output, errors=errors, now=now):
        for file in (output, errors):
            if file is not None:
                blobs.delete(BlobKey(file.id))


def _write(blobs: BlobStore, batch: BatchRow, name: str, results: Iterable[Result], now: float) -> FileRow:
    file_id = new_file_id()
    blob = blobs.put(BlobKey(file_id), _chunks(results))
    after = batch.output_expires_after_s
    return FileRow(
        id=file_id,
        project_id=batch.project_id,
        filename=f"{batch.id}_{name}.jsonl",
        purpose=FilePurpose.BATCH_OUTPUT,
        bytes=blob.size_bytes,
        sha256=blob.sha256,
        created_at=int(now),
        expires_at=expires_at(
            FilePurpose.BATCH_OUTPUT, None if after is None else ExpiresAfter(after), created_at=int(now)
        ),
    )


def _chunks(results: Iterable[Result]) -> Iterator[bytes]:
    """Join lines until it is worth a write."""
    gathered: list[bytes] = []
    size = 0
    for result in results:
        gathered += (result.outcome.line, b"\n")
        size += len(result.outcome.line) + 1
        if size >= _CHUNK_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    yield b"".join(gathered)
