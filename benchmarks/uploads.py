"""What an upload costs against the least it could cost, and how much memory it takes."""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.served import KEY, Served, serve

MEBIBYTE = 1024**2
_SIZE = 200 * MEBIBYTE
_ROUNDS = 5
_PIECE = 256 * 1024
_BOUNDARY = "b1946ac92492d2347c6235b4d2611184"
_HEAD = (
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="training.jsonl"\r\n'
    "Content-Type: application/octet-stream\r\n\r\n"
).encode()
_TAIL = f"\r\n--{_BOUNDARY}--\r\n".encode()


def main(size_bytes: int = _SIZE, rounds: int = _ROUNDS) -> None:
    content = os.urandom(MEBIBYTE) * (size_bytes // MEBIBYTE)
    digest = hashlib.sha256(content).hexdigest()
    with (
        tempfile.TemporaryDirectory(prefix="ts-") as ours_home,
        tempfile.TemporaryDirectory(prefix="ts-") as bare_home,
        serve(Path(ours_home), "server", "api") as ours,
        serve(Path(bare_home), "benchmarks.bare_receiver") as bare,
    ):
        _upload(ours, content[:MEBIBYTE])
        ours.forget_peak()
        before = ours.memory_bytes("VmRSS")
        _upload(ours, content)
        growth = ours.memory_bytes("VmHWM") - before
        taken = [(_measure(ours, content, digest), _measure(bare, content, digest)) for _ in range(rounds)]
    for index, what in enumerate(("time", "CPU")):
        best_ours, best_bare = (min(pair[side][index] for pair in taken) for side in (0, 1))
        per_mb = size_bytes / 1e6
        print(
            f"upload, {what} per MB / a raw body, hashed and written: {best_ours / best_bare:.2f}x "
            f"({best_ours / per_mb * 1e3:.2f} ms / {best_bare / per_mb * 1e3:.2f} ms)"
        )
    print(
        f"upload, growth of the peak of memory / the file of {size_bytes // MEBIBYTE} MiB: "
        f"{growth / size_bytes:.1%} ({growth / MEBIBYTE:.1f} MiB)"
    )


def _measure(server: Served, content: bytes, digest: str) -> tuple[float, float]:
    """Seconds of time and of CPU."""
    cpu_s, started = server.cpu_s(), time.perf_counter()
    answer = _upload(server, content)
    taken = time.perf_counter() - started, server.cpu_s() - cpu_s
    if not answer.startswith("{") and answer != digest:
        raise RuntimeError("the bare server received something else")
    return taken


def _upload(server: Served, content: bytes) -> str:
    """Our own server reads a form; the other one takes any bytes, and gets the content alone."""
    connection = server.connect()
    connection.request("GET", "/ready")
    is_ours = connection.getresponse().read() != b"ok"
    head, tail = (_HEAD, _TAIL) if is_ours else (b"", b"")
    headers = {
        "Authorization": f"Bearer {KEY}",
        "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
        "Content-Length": str(len(head) + len(content) + len(tail)),
    }
    connection.request("POST", "/v1/files", body=_pieces(head, content, tail), headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"the upload was refused: {answer.status}")
    if is_ours and json.loads(text)["bytes"] != len(content):
        raise RuntimeError("the file is not whole")
    return text


def _pieces(head: bytes, content: bytes, tail: bytes) -> Iterator[bytes]:
    yield head
    view = memoryview(content)
    for start in range(0, len(content), _PIECE):
        yield view[start : start + _PIECE]  # type: ignore[misc]  # http.client sends any buffer
    yield tail
