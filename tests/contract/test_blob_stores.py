"""What every blob store does; an implementation is one entry of the list."""

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from server.storage.blob_store import BlobInfo, BlobKey, BlobMissing, BlobStore, BlobStoreFull
from server.storage.local_directory import LocalDirectory

KEY = BlobKey("file-abc")


@pytest.fixture(params=[LocalDirectory], ids=["local_directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    implementation: Callable[[Path], BlobStore] = request.param
    return implementation(tmp_path / "blobs")


def read(store: BlobStore, key: BlobKey = KEY, start: int = 0) -> bytes:
    return b"".join(store.open(key, start=start))


def test_what_is_put_can_be_read(store: BlobStore) -> None:
    info = store.put(KEY, [b"one ", b"", b"two"])

    assert read(store) == b"one two"
    assert info == BlobInfo(7, hashlib.sha256(b"one two").hexdigest())


def test_reading_may_start_anywhere(store: BlobStore) -> None:
    store.put(KEY, [b"0123456789"])

    assert read(store, start=7) == b"789"
    assert read(store, start=10) == b""


def test_an_empty_blob_is_a_blob(store: BlobStore) -> None:
    assert store.put(KEY, []).size_bytes == 0
    assert read(store) == b""


def test_putting_again_replaces(store: BlobStore) -> None:
    store.put(KEY, [b"old"])
    store.put(KEY, [b"new"])

    assert read(store) == b"new"


def test_a_missing_blob_is_named_at_the_call(store: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(BlobMissing):
        store.open(KEY)
    with pytest.raises(BlobMissing):
        store.stage(KEY, tmp_path / "staged")
    assert not (tmp_path / "staged").exists()


def test_nothing_is_visible_before_the_commit(store: BlobStore) -> None:
    with store.writer(KEY) as writer:
        writer.write(b"half")
        with pytest.raises(BlobMissing):
            store.open(KEY)
    with pytest.raises(BlobMissing):
        store.open(KEY)


def test_a_write_that_breaks_off_keeps_the_old_blob(store: BlobStore) -> None:
    store.put(KEY, [b"old"])

    def broken() -> Iterator[bytes]:
        yield b"new"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        store.put(KEY, broken())
    assert read(store) == b"old"


def test_a_full_disk_is_named_and_nothing_is_kept(store: BlobStore, tmp_path: Path) -> None:
    def full() -> Iterator[bytes]:
        yield b"half"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(BlobStoreFull):
        store.put(KEY, full())
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


def test_staging_makes_a_local_file_of_it(store: BlobStore, tmp_path: Path) -> None:
    store.put(KEY, [b"content"])
    destination = tmp_path / "training.jsonl"
    destination.write_bytes(b"what was there")

    for _ in range(2):
        store.stage(KEY, destination)

    assert destination.read_bytes() == b"content"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["training.jsonl"]


def test_what_was_staged_outlives_the_blob(store: BlobStore, tmp_path: Path) -> None:
    store.put(KEY, [b"content"])
    store.stage(KEY, tmp_path / "staged")
    store.delete(KEY)

    assert (tmp_path / "staged").read_bytes() == b"content"


def test_a_blob_can_be_deleted_while_it_is_read(store: BlobStore) -> None:
    store.put(KEY, [b"content"])
    chunks = store.open(KEY)
    store.delete(KEY)

    assert b"".join(chunks) == b"content"


def test_deleting_is_idempotent(store: BlobStore) -> None:
    store.put(KEY, [b"content"])
    store.delete(KEY)
    store.delete(KEY)

    with pytest.raises(BlobMissing):
        store.open(KEY)


@pytest.mark.parametrize("key", ["", "..", "a/b", "../a", "a.b", "a\0b", "é"])
def test_no_key_leads_out_of_the_store(store: BlobStore, key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        store.put(BlobKey(key), [b""])


def test_a_sweep_deletes_old_unknown_blobs_only(store: BlobStore) -> None:
    store.put(BlobKey("known"), [b"1"])
    store.put(BlobKey("unknown"), [b"2"])
    later = time.time() + 60

    assert store.sweep(before=time.time() - 60, is_known=lambda key: key == "known") == 0
    assert store.sweep(before=later, is_known=lambda key: key == "known") == 1
    assert read(store, BlobKey("known")) == b"1"
    with pytest.raises(BlobMissing):
        store.open(BlobKey("unknown"))


def test_a_sweep_deletes_writes_that_broke_off(tmp_path: Path) -> None:
    """Left by a process that was killed: only the local directory shows them."""
    store = LocalDirectory(tmp_path)
    (tmp_path / "tmp" / "file-x.12345678").write_bytes(b"half")

    assert store.sweep(before=time.time() - 60, is_known=lambda _: True) == 1
    assert not list((tmp_path / "tmp").iterdir())


def test_a_sweep_leaves_a_write_that_is_going_on(store: BlobStore) -> None:
    with store.writer(BlobKey("slow")) as writer:
        writer.write(b"first ")
        assert store.sweep(before=time.time() + 60, is_known=lambda _: True) == 0
        writer.write(b"second")
        writer.commit()
    assert read(store, BlobKey("slow")) == b"first second"


def test_a_write_that_took_long_is_as_young_as_its_end(tmp_path: Path) -> None:
    store = LocalDirectory(tmp_path)
    with store.writer(KEY) as writer:
        writer.write(b"x" * 100_000)  # more than is held back until the commit
        (unfinished,) = (tmp_path / "tmp").iterdir()
        os.utime(unfinished, (0, 0))
        writer.commit()

    assert store.sweep(before=time.time() - 60, is_known=lambda _: False) == 0


def test_sweeping_all_the_time_disturbs_no_write(store: BlobStore) -> None:
    stop = Event()

    def sweep() -> None:
        while not stop.is_set():
            store.sweep(before=0, is_known=lambda _: True)

    with ThreadPoolExecutor(2) as pool:
        sweeping = [pool.submit(sweep) for _ in range(2)]
        try:
            for number in range(300):
                store.put(BlobKey(f"file-{number % 10}"), [b"content"])
        finally:
            stop.set()
        for future in sweeping:
            future.result()
