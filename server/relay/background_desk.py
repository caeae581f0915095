"""Lets requests in for which no client waits: in places that clients leave, and beside their limits."""

from collections.abc import Iterable
from dataclasses import dataclass

from server.auth.caller import ProjectLimits
from server.fair_queue.gate import Gate
from server.rate_limits.limits import Limits
from server.relay.accounts import Caller, Header
from server.relay.front_desk import FrontDesk, background_label
from server.relay.open_account import OpenAccount, Terms
from server.relay.relayed_request import RelayedRequest

ENGINE_FIELDS = b'"priority":1'  # vLLM serves 0, which is everybody else's, first


@dataclass(frozen=True)
class _BackgroundGate:
    gate: Gate

    def leave(self, project: str, places: int) -> None:
        self.gate.leave_background(project, places)


@dataclass(frozen=True)
class BackgroundDesk:
    """An `Admission` at the gates of a desk, on its loop. What it lets in is counted like all else, as a batch's."""

    desk: FrontDesk

    async def admit(
        self, caller: Caller, request: RelayedRequest, base_model: str, _headers: Iterable[Header]
    ) -> OpenAccount:
        gate = self.desk.gates[base_model]
        account = OpenAccount(self._terms(caller, base_model, gate), request)
        try:
            account.entered(await gate.enter_background(caller.project_id, n=account.n_answers))
        except BaseException as error:
            account.turn_away(error)
            raise
        account.metered = self.desk.meter.begin(
            caller.project_id, caller.key_id, request.model, base_model, is_batch=True
        )
        return account

    def _terms(self, caller: Caller, base_model: str, gate: Gate) -> Terms:
        return Terms(
            own=ProjectLimits(),
            project_id=caller.project_id,
            limits=Limits(),
            bucket="",
            gate=_BackgroundGate(gate),
            metrics=self.desk.metrics.of(background_label(base_model)),
            limiter=self.desk.limiter,
            clock=self.desk.clock,
        )
