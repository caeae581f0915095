"""Batches in a home of their own, their part of a worker, and something that answers; killed where a test says."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from server.batches import service
from server.batches.asking import Request, Unreachable
from server.batches.course import BatchServices
from server.batches.outcomes import Answer
from server.batches.repository import list_unfinished
from server.batches.runner import BatchRunner
from server.batches.schemas import CreateBatchRequest
from server.bootstrap import Services
from server.db.project_session import project_session
from server.db.tables import BatchRow, FileRow
from server.ids import ProjectId
from server.storage.blob_store import BlobInfo, BlobKey
from server.vocabulary import FilePurpose
from tests.factories import make_file

ENDPOINT = "/v1/chat/completions"
MODEL = "tunesmith-demo"


class Killed(BaseException):
    """The worker is no more."""


def line(custom_id: object, **changes: Any) -> bytes:
    """A right line of an input file, but for what is changed."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]} | changes.pop("body", {})
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body} | changes).encode()


def lines(n: int, **changes: Any) -> bytes:
    return b"".join(line(f"r{number}", **changes) + b"\n" for number in range(n))


@dataclass
class FakeAnswers:
    """An `Asker`, which is killed, away or refuses as a test says."""

    asked: list[Request] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)  # by what a request says
    kill_at: int | None = None  # requests
    is_away: bool = False
    answer: Callable[[dict[str, Any]], tuple[int, dict[str, Any]]] | None = None  # None: a chat answer
    hold_after: int | None = None  # answers; the next request waits for ever
    under_way: int = 0
    most_under_way: int = 0

    async def __call__(self, request: Request) -> Answer:
        self.asked.append(request)
        if self.kill_at is not None and len(self.asked) >= self.kill_at:
            raise Killed
        if self.is_away:
            raise Unreachable
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            is_held = self.hold_after is not None and self.answered.total() >= self.hold_after
            await (asyncio.Event().wait() if is_held else asyncio.sleep(0))
        finally:
            self.under_way -= 1
        body = json.loads(request.body)
        status, answer = (self.answer or chat_answer)(body)
        if status == 200:
            self.answered[json.dumps(body)] += 1
        return Answer(status, f"req_{len(self.asked)}", json.dumps(answer).encode())


def chat_answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}
    return 200, {"object": "chat.completion", "model": body["model"], "usage": usage}


@dataclass
class DyingBlobs:
    """The blobs of a home, whose writer is killed before or after a blob is there."""

    inner: Any
    kill_before: int | None = None  # blobs
    kill_after: int | None = None
    put_blobs: int = 0

    def put(self, key: BlobKey, chunks: Iterable[bytes]) -> BlobInfo:
        self.put_blobs += 1
        if self.put_blobs == self.kill_before:
            next(iter(chunks))
            raise Killed
        blob: BlobInfo = self.inner.put(key, chunks)
        if self.put_blobs == self.kill_after:
            raise Killed
        return blob

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class BatchRig:
    """A worker's batches on a home; `restart` forgets all that is not on the disk."""

    def __init__(self, services: Services, project_id: ProjectId) -> None:
        self.services = services
        self.project_id = project_id
        self.answers = FakeAnswers()
        self.blobs = DyingBlobs(services.blobs)
        self.now = 1_800_000_000.0

    def make(self, content: bytes, project_id: ProjectId | None = None, **asked: Any) -> str:
        project = project_id or self.project_id
        file = make_file(self.services, project, content, purpose=FilePurpose.BATCH)
        request = CreateBatchRequest(
            input_file_id=file.id, endpoint=asked.pop("endpoint", ENDPOINT), completion_window="24h", **asked
        )
        with project_session(self.services.database, project, write=True) as session:
            return service.create_batch(session, request, endpoints=[ENDPOINT], key_id="key_1", now=self.now).id

    def cancel(self, batch_id: str) -> BatchRow:
        with project_session(self.services.database, self.project_id, write=True) as session:
            return service.cancel_batch(session, batch_id, now=self.now)

    def see(self, batch_id: str, project_id: ProjectId | None = None) -> BatchRow:
        with project_session(self.services.database, project_id or self.project_id) as session:
            return service.retrieve_batch(session, batch_id)

    def work(self, until: Callable[[], bool] = lambda: False, *, most_at_once: int = 4, timeout_s: float = 30) -> None:
        """Run a new worker's part until nothing is left to do, or `until` says so."""
        runner = BatchRunner(
            BatchServices(
                database=self.services.database,
                blobs=self.blobs,  # type: ignore[arg-type]  # all of it by name
                base_models=self.services.base_models,
                adapters=self.services.settings.adapters,
                root=self.services.settings.batches,
                ask=self.answers,
                most_at_once=most_at_once,
                most_body_bytes=1024 * 1024,
                clock=lambda: self.now,
                pause=self._pause,
            )
        )
        self.services.settings.batches.mkdir(exist_ok=True)
        asyncio.run(self._work(runner, until, timeout_s))

    async def _work(self, runner: BatchRunner, until: Callable[[], bool], timeout_s: float) -> None:
        stop = Event()
        working = asyncio.create_task(runner.work(stop))
        async with asyncio.timeout(timeout_s):
            while not working.done() and not until() and list_unfinished(self.services.database):
                await asyncio.sleep(0.005)
        stop.set()
        await working

    async def _pause(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0.002)

    def answer_only(self, batch_id: str, n: int, project_id: ProjectId | None = None) -> None:
        """Work until as many more are answered and seen to be, one at a time, and end before the next is."""
        before = self.see(batch_id, project_id).completed
        self.answers.hold_after = self.answers.answered.total() + n
        self.work(lambda: self.see(batch_id, project_id).completed >= before + n, most_at_once=1)
        self.answers.hold_after = None

    def kill_during(self, **options: Any) -> None:
        with suppress(Killed):
            self.work(**options)
            raise AssertionError("nothing was killed")
        self.answers.kill_at = self.blobs.kill_before = self.blobs.kill_after = None

    def file(self, file_id: str | None) -> list[dict[str, Any]]:
        """The lines of an output or error file; none of one that is not there."""
        if file_id is None:
            return []
        with project_session(self.services.database, self.project_id) as session:
            assert session.get(FileRow, file_id) is not None
        return [json.loads(line) for line in b"".join(self.services.blobs.open(BlobKey(file_id))).splitlines()]

    def ids(self, batch_id: str) -> list[str]:
        """Of every line of both files."""
        row = self.see(batch_id)
        return [found["custom_id"] for file in (row.output_file_id, row.error_file_id) for found in self.file(file)]


def expected_ids(n: int) -> list[str]:
    return [f"r{number}" for number in range(n)]


def sequence_of(
    answers: Sequence[tuple[int, dict[str, Any]]],
) -> Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]:
    """Answers one after the other, and then as always."""
    left: Iterator[tuple[int, dict[str, Any]]] = iter(answers)
    return lambda body: next(left, None) or chat_answer(body)
