"""The parent's engines: started, watched and stopped as placing decides, over what the database says."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from inference.vllm.process import is_ready
from server.child import Child
from server.engine_member import Member, is_deaf
from server.fine_tuning.full_models import read_full_models
from server.fine_tuning.placing import decide, read_facts
from server.placement.facts import EngineFacts, EngineState, Why
from server.placement.plan import Plan
from server.placement.repository import (
    delete_engine,
    placing,
    read_engines,
    start_over,
    write_engine,
    write_turn,
)
from server.placement.sizing import EngineSize, Placement, size_of_full
from server.placement.standing import Standing
from server.starting import ServeFailed, say

_START_DEATHS = 3  # in a row, of an engine that was never ready
_DEATHS = 5  # in a row, of one that was
_TERM_S = 10.0  # from asking an engine to end to killing it


@dataclass(frozen=True)
class Pace:
    """How often the pool looks around, and how long an engine has to end; in seconds."""

    decide_s: float = 0.5
    probe_starting_s: float = 0.3
    notice_s: float = 2.0  # until every API process knows that it takes no more, and has said what it still gives
    drain_s: float = 30.0  # for the answers under way; then they are cut


class EnginePool:
    """Belongs to the main thread, whose death its children share."""

    def __init__(
        self,
        members: Sequence[Member],
        placement: Placement,
        database: Engine,
        *,
        start_timeout_s: float,
        member_of: Callable[[EngineSize, str], Member] | None = None,
        pace: Pace = Pace(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._is_only = len(members) == 1
        self._member_of = member_of  # a full model's, of its size and its base model; None: there are none
        self._gone: set[str] = set()  # whose rows are still there
        self._members = {member.base_model: member for member in members}
        self._placement = placement
        self._database = database
        self._start_timeout_s = start_timeout_s
        self._pace = pace
        self._clock = clock
        self._active: dict[str, int] = {}
        self._decide_at = 0.0
        self._is_blind = False

    @property
    def children(self) -> list[Child]:
        return [member.child for member in self._members.values()]

    def start_over(self) -> None:
        """The service starts, and no engine runs, whatever the rows say."""
        with placing(self._database, write=True) as session:
            start_over(session, list(self._members), self._clock())
            for name, standing in read_engines(session).items():
                self._members[name].standing = standing

    def tick(self) -> None:
        """Raises: ServeFailed: the only engine cannot be started."""
        for member in self._members.values():
            self._tend(member)
        if time.monotonic() >= self._decide_at or (self._has_unsaved() and not self._is_blind):
            self._decide_at = time.monotonic() + self._pace.decide_s
            self._decide()

    def _tend(self, member: Member) -> None:
        match member.standing.state:
            case EngineState.STARTING | EngineState.READY:
                code = member.child.tend()
                if code is not None:
                    self._on_death(member, code)
                elif member.is_probe_due(self._pace.probe_starting_s):
                    self._probe(member)
            case EngineState.STOPPING:
                self._see_off(member)
            case _:
                return

    def _probe(self, member: Member) -> None:
        if is_ready(member.socket):
            member.answered_at = time.monotonic()
            if member.standing.state is EngineState.STARTING:
                took_s = round(member.answered_at - member.child.started_at, 1)
                member.stand(EngineState.READY, self._clock(), why=None, detail=None, deaths=0, start_s=took_s)
                member.was_ready = True
                say(f"{member.child.command.name} is ready after {took_s:g} s")
        elif is_deaf(
            now=time.monotonic(),
            started_at=member.child.started_at,
            answered_at=member.answered_at,
            start_timeout_s=self._start_timeout_s,
        ):
            command = member.child.command
            say(f"{command.name} does not answer and is started again; {command.log} may say why")
            member.child.kill_guarded()
        member.probed_at = time.monotonic()

    def _on_death(self, member: Member, code: int) -> None:
        command, deaths = member.child.command, member.standing.deaths + 1
        if deaths < (_DEATHS if member.was_ready else _START_DEATHS):
            say(f"{command.name} ended with code {code} and is started again; {command.log} may say why")
            member.stand(EngineState.STARTING, self._clock(), deaths=deaths, detail=f"ended with code {code}")
            return
        words = tail(command.log)
        if self._is_only and not member.is_full and not member.was_ready:
            raise ServeFailed(f"{command.name} ended {deaths} times before it was ready. See {command.log}\n{words}")
        say(f"{command.name} ended {deaths} times in a row and is tried again later; see {command.log}")
        member.child.is_gone()
        member.stand(EngineState.FAILED, self._clock(), deaths=deaths, detail=f"ended with code {code}: {words}")

    def _see_off(self, member: Member) -> None:
        """Let it end its answers, up to a limit; then end it."""
        waited_s = self._clock() - member.standing.since
        if member.told_to_stop_at is None:
            is_drained = waited_s >= self._pace.notice_s and not self._active.get(member.base_model)
            if is_drained or waited_s >= self._pace.drain_s:
                member.child.ask_to_stop()
                member.told_to_stop_at = time.monotonic()
        elif member.child.is_gone():
            member.socket.unlink(missing_ok=True)
            member.told_to_stop_at = None
            member.stand(EngineState.STOPPED, self._clock(), deaths=0)
        elif time.monotonic() - member.told_to_stop_at > _TERM_S:
            member.child.kill_guarded()

    def _decide(self) -> None:
        """What cannot be written is not done: then everything stays as it is for now."""
        now = self._clock()
        try:
            with placing(self._database) as session:
                self._keep_up(read_full_models(session), now)
                facts = read_facts(session, self._placement, now)
            self._note(facts.engines)
            decided = decide(self._placement, facts, now)
            if _changes(decided) or decided.turn != facts.turn or self._has_unsaved():
                self._change(now)
        except DBAPIError as error:
            if not self._is_blind:
                say(f"the database cannot be used, and the engines stay as they are: {type(error).__name__}")
            self._is_blind = True
        else:
            self._is_blind = False

    def _change(self, now: float) -> None:
        """Decide again where nobody else decides, and write it before it is done."""
        with placing(self._database, write=True) as session:
            for name in self._gone:
                delete_engine(session, name)
            for member in self._members.values():
                write_engine(session, member.base_model, member.standing)
            session.flush()
            facts = read_facts(session, self._placement, now)
            decided = decide(self._placement, facts, now)
            after = {name: self._after(name, decided, now) for name in _changes(decided) if name in self._members}
            for name, standing in after.items():
                write_engine(session, name, standing)
            if decided.turn != facts.turn:
                write_turn(session, decided.turn)
        self._gone.clear()
        for member in self._members.values():
            member.is_saved = True
            member.standing = after.get(member.base_model, member.standing)

    def _keep_up(self, full_models: Mapping[str, str], now: float) -> None:
        """Take in full models that are new; see off the engines of those that are gone."""
        sizes = {size.base_model: size for size in self._placement.sizes}
        for name, base in full_models.items():
            if name not in self._members and base in sizes and self._member_of is not None:
                member = self._member_of(size_of_full(sizes[base], name), base)
                member.stand(EngineState.STOPPED, now, why=Why.ON_DEMAND)
                self._members[name] = member
        for member in [member for member in self._members.values() if member.is_full]:
            if member.base_model not in full_models:
                self._dismiss(member, now)

    def _dismiss(self, member: Member, now: float) -> None:
        if member.standing.state in (EngineState.STARTING, EngineState.READY):
            member.stand(EngineState.STOPPING, now, why=Why.DELETED)
        elif member.standing.state is not EngineState.STOPPING:
            member.clear()
            del self._members[member.base_model]
            self._gone.add(member.base_model)

    def _after(self, name: str, decided: Plan, now: float) -> Standing:
        standing = self._members[name].standing
        if name in decided.start_engines:
            return replace(standing, state=EngineState.STARTING, since=now, why=None)
        if name in decided.put_off_engines:
            return replace(standing, why=Why.ON_DEMAND)
        stop = decided.stop_engines[name]
        detail = None if stop.in_favour_of is None else f"for {stop.in_favour_of}"
        if standing.state is EngineState.STOPPED:
            return replace(standing, why=stop.why)
        return replace(standing, state=EngineState.STOPPING, since=now, why=stop.why, detail=detail)

    def _has_unsaved(self) -> bool:
        return bool(self._gone) or not all(member.is_saved for member in self._members.values())

    def _note(self, engines: Sequence[EngineFacts]) -> None:
        self._active = {engine.base_model: engine.active for engine in engines}


def tail(path: Path, lines: int = 5) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _changes(decided: Plan) -> list[str]:
    return [*decided.start_engines, *decided.stop_engines, *decided.put_off_engines]
