"""A request has its effect once, however often it is sent: by its idempotency key, or by the client's own count."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel

from server.auth.dependencies import ProjectDatabase
from server.db.project_session import ProjectSession
from server.db.tables import RememberedRequestRow
from server.errors import ApiError, Conflict, InvalidRequest, NotFound
from server.idempotency import repository
from server.idempotency.asked import Asked
from server.idempotency.running import RunningKeys
from server.idempotency.sending import KEY_WINDOW_S, RETRY_WINDOW_S, Sending, choose_first

Body = dict[str, Any]
Make = Callable[[ProjectSession], BaseModel]  # does what is asked, and gives the answer
Find = Callable[[ProjectSession, str], BaseModel | None]  # the answer about what was made, by its id; None: it is gone


@dataclass(frozen=True)
class Answer:
    body: Body
    status: int = 200
    is_new: bool = True  # False: an earlier request did it
    is_replayed: bool = False  # the very answer of the earlier request

    def render(self) -> JSONResponse:
        headers = {"idempotent-replayed": "true"} if self.is_replayed else {}
        if self.status >= 500:
            headers["x-should-retry"] = "false"  # it would be this answer again
        return JSONResponse(self.body, self.status, headers)


class Once:
    """One request. What it does and that it did it are committed together, so that no kill comes between them."""

    def __init__(self, database: ProjectDatabase, sending: Sending, running: RunningKeys) -> None:
        self._database = database
        self._sending = sending
        self._running = running
        self._begun: tuple[str, str] | None = None  # operation and fingerprint

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others with the same idempotency key out. For what takes its time before `create`.

        Raises:
            KeyInUse: one is running.
        """
        key = self._sending.idempotency_key
        with nullcontext() if key is None else self._running.hold(self._database.project_id, key, self):
            yield

    def create(self, asked: Asked, *, make: Make, find: Find) -> Answer:
        """Make an object, unless this is a repetition of a request that made it.

        Raises:
            KeyInUse, KeyReused, and what `make` raises: then nothing was made.
        """
        fingerprint = asked.fingerprint()
        with self.alone(), self._database.write() as session:
            return (
                self._replay(session, asked, fingerprint)
                or self._find_first(session, asked, fingerprint, find)
                or self._do(session, asked, fingerprint, make)
            )

    def act(self, asked: Asked, *, do: Make, find: Find) -> Answer:
        """Change or delete an object. A retry that is refused because an earlier try has done it is answered like it.

        Raises:
            KeyInUse, KeyReused, and what `do` raises: then nothing was done.
        """
        fingerprint = asked.fingerprint()
        try:
            with self.alone(), self._database.write() as session:
                return self._replay(session, asked, fingerprint) or self._do(session, asked, fingerprint, do)
        except (InvalidRequest, NotFound, Conflict):
            if not self._sending.is_retry or self._sending.idempotency_key is not None:
                raise
            with self._database.write() as session:
                answer = self._find_first(session, asked, fingerprint, find)
            if answer is None:
                raise
            return answer

    def remember_fault(self, error: ApiError) -> bool:
        """Keep a fault of ours as the answer to the idempotency key: it may have had effects. False: it has none."""
        key = self._sending.idempotency_key
        if key is None or self._begun is None:
            return False
        with self._database.write() as session:
            self._remember(session, *self._begun, Answer(error.body(), error.status))
        return True

    def _replay(self, session: ProjectSession, asked: Asked, fingerprint: str) -> Answer | None:
        key = self._sending.idempotency_key
        row = None if key is None else repository.find_by_key(session, key)
        if row is None:
            return None
        if row.created_at <= time.time() - KEY_WINDOW_S:
            session.delete(row)
            session.flush()  # before the new one takes its place
            return None
        if (row.operation, row.fingerprint) != (asked.operation, fingerprint):
            raise InvalidRequest(
                "This Idempotency-Key was used with another request. Send a new key with a new request, "
                "and the first request unchanged with this one.",
                param="Idempotency-Key",
                code="idempotency_key_reused",
            )
        return Answer(row.answer or {}, row.answer_status or 200, is_new=False, is_replayed=True)

    def _find_first(self, session: ProjectSession, asked: Asked, fingerprint: str, find: Find) -> Answer | None:
        if self._sending.idempotency_key is not None or self._sending.retry_count is None:
            return None
        now = time.time()
        alike = repository.list_alike(
            session,
            key_id=self._sending.key_id,
            operation=asked.operation,
            fingerprint=fingerprint,
            since=now - RETRY_WINDOW_S,
        )
        first = choose_first(self._sending, alike, now=now)
        body = None if first is None else find(session, first.object_id or "")
        if first is None or body is None:
            return None
        first.last_retry = max(first.last_retry, self._sending.retry_count)
        first.is_original_seen = first.is_original_seen or not self._sending.is_retry
        session.add(first)
        return Answer(_dump(body), is_new=False)

    def _do(self, session: ProjectSession, asked: Asked, fingerprint: str, make: Make) -> Answer:
        self._begun = (asked.operation, fingerprint)
        answer = Answer(_dump(make(session)))
        self._remember(session, asked.operation, fingerprint, answer)
        return answer

    def _remember(self, session: ProjectSession, operation: str, fingerprint: str, answer: Answer) -> None:
        is_keyed = self._sending.idempotency_key is not None
        session.add(
            RememberedRequestRow(
                project_id=session.project_id,
                key_id=self._sending.key_id,
                operation=operation,
                fingerprint=fingerprint,
                idempotency_key=self._sending.idempotency_key,
                object_id=answer.body.get("id"),
                answer_status=answer.status if is_keyed else None,
                answer=answer.body if is_keyed else None,
                is_original_seen=not self._sending.is_retry,
                last_retry=self._sending.retry_count or 0,
                created_at=time.time(),
            )
        )


def _dump(body: BaseModel) -> Body:
    return body.model_dump(mode="json", by_alias=True)
