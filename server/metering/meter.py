"""Counts the answers of this process, and writes what is new of them: each at its end, those under way each second."""

import time
from collections.abc import Callable
from typing import Protocol

from server.metering.account import Account, Amount, minute_of
from server.metering.journal import Journal
from server.metering.lines import render_line

TICK_S = 1.0  # what a kill of the process can take of an answer under way


class Tokens(Protocol):
    """What an answer has come to."""

    @property
    def prompt_tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def completion_tokens(self) -> int: ...


_NOTHING = Amount()


def _nothing() -> None: ...


class MeteredAnswer:
    """One answer. Whoever relays it says how it ends, and lets it be asked what was relayed so far."""

    __slots__ = ("_account", "_meter", "_tokens", "_written", "so_far")

    def __init__(self, meter: "Meter", account: Account) -> None:
        self._meter = meter
        self._account = account
        self._written = _NOTHING
        self._tokens: Tokens | None = None
        self.so_far: Callable[[], Tokens | None] | None = None  # what the client was sent; None: not known yet

    def finish(self, tokens: Tokens, then: Callable[[], None] = _nothing) -> None:
        """Write the final numbers down, `then` send the last bytes: what a client has whole is counted."""
        self._tokens, self.so_far = tokens, None
        if self._meter.forget(self):
            self._meter.write_soon(self._news(1), then)

    def cut(self) -> None:
        """Write down what was relayed of an answer that has no end. Nothing after `finish`."""
        if self._meter.forget(self):
            self._meter.write(self._news(0))

    def withdraw(self) -> None:
        """The engine refused the request: nothing was used, unless some of it is written already."""
        if not self._written.requests:
            self._meter.forget(self)
        self.cut()

    def news(self) -> bytes:
        """What changed since it was written last, as a line; nothing if nothing did."""
        return self._news(0)

    def _news(self, finished: int) -> bytes:
        if self.so_far is not None:
            self._tokens = self.so_far() or self._tokens
        tokens = self._tokens
        if tokens is None:
            now = Amount(1, finished)
        else:
            now = Amount(1, finished, tokens.prompt_tokens, tokens.cached_tokens, tokens.completion_tokens)
        if now == self._written:
            return b""
        line = render_line(self._account, now - self._written if self._written.requests else now)
        self._written = now
        return line


class Meter:
    """The answers under way in this process. For one thread: the event loop's."""

    def __init__(
        self,
        journal: Journal,
        *,
        clock: Callable[[], float] = time.time,
        soon: Callable[[Callable[[], None]], object] = lambda work: work(),
    ) -> None:
        """`soon` has something done after what else is to be done now, so that what ends at once is written at once."""
        self._journal = journal
        self._clock = clock
        self._soon = soon
        self._ended: list[tuple[bytes, Callable[[], None]]] = []  # lines to be written, and what is done then
        self._under_way: set[MeteredAnswer] = set()

    def begin(
        self, project_id: str, key_id: str, model: str, base_model: str, *, is_batch: bool = False
    ) -> MeteredAnswer:
        account = Account(project_id, key_id, model, base_model, minute_of(self._clock()), is_batch)
        answer = MeteredAnswer(self, account)
        self._under_way.add(answer)
        return answer

    def tick(self) -> None:
        """Write what is new of the answers under way, in one go."""
        self.write(b"".join([answer.news() for answer in self._under_way]))

    def forget(self, answer: MeteredAnswer) -> bool:
        """False if its end was written before."""
        if answer not in self._under_way:
            return False
        self._under_way.discard(answer)
        return True

    def write_soon(self, line: bytes, then: Callable[[], None]) -> None:
        self._ended.append((line, then))
        if len(self._ended) == 1:
            self._soon(self._write_ended)

    def write(self, lines: bytes) -> None:
        if lines:
            self._journal.append(lines)

    def close(self) -> None:
        self._write_ended()
        self.tick()
        self._journal.close()

    def _write_ended(self) -> None:
        ended, self._ended = self._ended, []
        self.write(b"".join([line for line, _ in ended]))
        for _, then in ended:
            then()
