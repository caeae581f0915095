"""Lets chat requests in, one by one and in turn, and counts what becomes of each: the relay's `Admission`."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from server.errors import Busy
from server.fair_queue.gate import Gate
from server.metering.meter import TICK_S, Meter
from server.observing.chat_metrics import ChatMetrics
from server.rate_limits.admission import Asked
from server.rate_limits.limiter import RateLimiter
from server.rate_limits.limits import Overrides, effective_limits
from server.rate_limits.shared_buckets import BucketsFull
from server.relay.accounts import Caller, Header
from server.relay.open_account import OpenAccount, Span, Terms
from server.relay.relayed_request import RelayedRequest


class Tracing(Protocol):
    def begin(self, headers: Iterable[Header], asked: Mapping[str, str | int | bool]) -> Span: ...
    def close(self) -> None: ...


_MOST_TERMS = 10_000


@dataclass(frozen=True)
class FrontDesk:
    """For one event loop."""

    limits: Overrides  # of the settings
    meter: Meter
    limiter: RateLimiter
    gates: Mapping[str, Gate]  # by base model
    metrics: ChatMetrics
    tracing: Tracing | None = None
    clock: Callable[[], float] = field(default=time.perf_counter, repr=False)
    _terms: dict[str, Terms] = field(default_factory=dict, init=False, repr=False)  # by bucket

    async def admit(
        self, caller: Caller, request: RelayedRequest, base_model: str, headers: Iterable[Header]
    ) -> OpenAccount:
        """Raises: RateLimitExceeded, TooManyAnswers, Busy."""
        terms = self._terms_of(caller, base_model)
        gate = self.gates[base_model]
        account = OpenAccount(terms, request)
        if self.tracing is not None:
            account.span = self.tracing.begin(headers, _described(request))
        try:
            if terms.limits.has_rates:
                account.headers = _take(account, Asked(request.model, caller.organization_id, account.estimate))
            at_most = terms.limits.concurrent_answers
            account.entered(await gate.enter(terms.project_id, at_most=at_most, n=account.n_answers))
        except BaseException as error:
            account.turn_away(error)
            raise
        account.metered = self.meter.begin(caller.project_id, caller.key_id, request.model, base_model)
        return account

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write down each second what answers under way have come to; at the end, all that is left."""
        ticking = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            ticking.cancel()
            self.meter.close()
            self.limiter.close()
            if self.tracing is not None:
                await asyncio.to_thread(self.tracing.close)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.meter.tick()
            for base_model, gate in self.gates.items():
                self.metrics.of(base_model).show(under_way=gate.answering, waiting=gate.waiting)
                if gate.has_background:
                    answering, waiting = gate.in_background
                    self.metrics.of(background_label(base_model)).show(under_way=answering, waiting=waiting)

    def _terms_of(self, caller: Caller, base_model: str) -> Terms:
        """Find them again as long as the limits are the same object: they are read anew when they may have changed."""
        bucket = f"{caller.project_id} {base_model}"
        terms = self._terms.get(bucket)
        if terms is None or terms.own is not caller.limits:
            if len(self._terms) >= _MOST_TERMS:
                self._terms.clear()
            terms = self._terms[bucket] = Terms(
                own=caller.limits,
                project_id=caller.project_id,
                limits=effective_limits(self.limits, caller.limits),
                bucket=bucket,
                gate=self.gates[base_model],
                metrics=self.metrics.of(base_model),
                limiter=self.limiter,
                clock=self.clock,
            )
        return terms


def background_label(base_model: str) -> str:
    """The metrics' name of what nobody waits for, whose times would hide those of clients."""
    return f"{base_model} (batches)"


def _take(account: OpenAccount, asked: Asked) -> Sequence[Header]:
    """Raises: RateLimitExceeded, Busy."""
    terms = account.terms
    try:
        headers = terms.limiter.admit(terms.bucket, terms.limits, asked)
    except BucketsFull:
        raise Busy("The server has as many projects to limit as it can. Please try again later.") from None
    account.is_charged = True
    return headers


def _described(request: RelayedRequest) -> dict[str, str | int | bool]:
    return {"gen_ai.request.model": request.model, "gen_ai.request.stream": request.stream}
