"""Which engines run and which jobs start, by table."""

from dataclasses import dataclass, field, replace

import pytest

from server.placement.facts import (
    EngineFacts,
    EngineState,
    Holder,
    JobFacts,
    Patience,
    Policy,
    Resources,
    Turn,
    Why,
)
from server.placement.plan import Facts, Plan, plan

NOW = 1000.0
PATIENCE = Patience(
    idle_s=300.0, give_way_s=20.0, settle_s=2.0, pause_s=5.0, turn_s=60.0, unused_s=120.0, failed_s=60.0
)
JOBS_TURN = Turn(Holder.JOBS, NOW - 10)
USED_TURN = replace(JOBS_TURN, used=True)


def ready(
    name: str, needs: int = 4, *, asked: float = NOW - 100, since: float = NOW - 200, **facts: int
) -> EngineFacts:
    return EngineFacts(name, needs, state=EngineState.READY, state_since=since, asked_at=asked, **facts)


def starting(name: str, needs: int = 4) -> EngineFacts:
    return EngineFacts(name, needs, state=EngineState.STARTING, state_since=NOW - 10)


def stopping(name: str, needs: int = 4) -> EngineFacts:
    return EngineFacts(name, needs, state=EngineState.STOPPING, state_since=NOW - 1, why=Why.GAVE_WAY)


def away(name: str, needs: int = 4, *, why: Why = Why.ON_DEMAND) -> EngineFacts:
    return EngineFacts(name, needs, state_since=NOW - 500, why=why)


def asked(name: str, needs: int = 4, *, for_s: float = 1.0, why: Why = Why.ON_DEMAND) -> EngineFacts:
    return replace(away(name, needs, why=why), waiting=1, waiting_since=NOW - for_s, asked_at=NOW - for_s)


def failed(name: str, *, for_s: float) -> EngineFacts:
    return EngineFacts(name, 4, state=EngineState.FAILED, state_since=NOW - for_s)


def waiting_job(seq: int = 1, needs: int = 5, *, not_before: float = 0.0) -> JobFacts:
    return JobFacts(f"j{seq}", "p", seq, needs, not_before=not_before, waits=True)


def training_job(seq: int = 0, needs: int = 5) -> JobFacts:
    return JobFacts(f"j{seq}", "p", seq, needs, has_slot=True, holds_memory=True)


def publishing_job(seq: int = 0) -> JobFacts:
    return JobFacts(f"j{seq}", "p", seq, 5, has_slot=True)


def ending_job(seq: int = 0) -> JobFacts:
    return JobFacts(f"j{seq}", "p", seq, 5, holds_memory=True)


@dataclass(frozen=True)
class Row:
    engines: list[EngineFacts]
    jobs: list[JobFacts] = field(default_factory=list)
    policy: Policy = Policy.SHARE
    turn: Turn = field(default_factory=Turn)
    slots: int = 1
    engine_bytes: int | None = 10
    starts: str = ""  # engines
    stops: str = ""  # engines, each with the first letters of why
    puts_off: str = ""
    trains: str = ""  # jobs
    holder: Holder = Holder.ENGINES


ENGINES: dict[str, Row] = {
    "what is due and fits starts": Row([away("a", why=Why.NEW), away("b", why=Why.NEW)], starts="a b"),
    "what is due and does not fit is put off": Row(
        [away("a", why=Why.NEW), away("b", why=Why.NEW), away("c", why=Why.NEW)], starts="a b", puts_off="c"
    ),
    "a small one later in the file is due beside a large one that is put off": Row(
        [away("a", 8, why=Why.NEW), away("b", 8, why=Why.NEW), away("c", 2, why=Why.NEW)], starts="a c", puts_off="b"
    ),
    "what is due waits for one that is leaving": Row([stopping("a", 8), away("b", 8, why=Why.TRAINING)]),
    "one alone starts, whatever it needs": Row([away("a", 99, why=Why.NEW)], starts="a"),
    "but not beside another": Row([ready("b", 1), away("a", 99, why=Why.NEW)], puts_off="a"),
    "what is not known takes nothing": Row([ready("a", 10), away("b", 0, why=Why.NEW)], starts="b"),
    "without a budget all start": Row(
        [away("a", 99, why=Why.NEW), away("b", 99, why=Why.NEW)], engine_bytes=None, starts="a b"
    ),
    "nobody asks, nobody starts": Row([away("a"), away("b", why=Why.IDLE), away("c", why=Why.GAVE_WAY)]),
    "what is asked starts": Row([ready("a"), asked("b")], starts="b"),
    "what has waited longest starts first": Row([asked("a", 6, for_s=1), asked("b", 6, for_s=9)], starts="b"),
    "what is asked goes before what is due": Row([away("a", 6, why=Why.NEW), asked("b", 6)], starts="b", puts_off="a"),
    "the idle one makes way": Row([ready("a", 8), asked("b", 8)], stops="a:gave_way"),
    "the one that was unasked longest makes way": Row(
        [ready("a", asked=NOW - 20), ready("b", asked=NOW - 90), asked("c")], stops="b:gave_way"
    ),
    "no more make way than must": Row([ready("a", 3), ready("b", 3), ready("c", 3), asked("d", 3)], stops="a:gave_way"),
    "as many make way as must": Row(
        [ready("a", 3), ready("b", 3), ready("c", 3), asked("d", 6)], stops="a:gave_way b:gave_way"
    ),
    "an idle one goes before a busy one": Row(
        [ready("a", asked=NOW - 90, active=1), ready("b", asked=NOW - 3), asked("c", for_s=50)], stops="b:gave_way"
    ),
    "a busy one stays": Row([ready("a", 8, active=1), asked("b", 8, for_s=19)]),
    "a busy one goes in the end": Row([ready("a", 8, active=1), asked("b", 8, for_s=20)], stops="a:gave_way"),
    "a busy one has had its time since it became ready": Row(
        [ready("a", 8, active=1, since=NOW - 19), asked("b", 8, for_s=50)]
    ),
    "one that has just become ready stays": Row([ready("a", 8, since=NOW - 1), asked("b", 8)]),
    "one that is starting stays": Row([starting("a", 8), asked("b", 8)]),
    "one that is leaving is waited for": Row([stopping("a", 5), ready("c", 5), asked("b", 5)]),
    "nobody is stopped in vain": Row([ready("a", 2), ready("b", 8, active=1), asked("c", 8)]),
    "nobody overtakes who waits for room": Row(
        [ready("a", 8, active=1), asked("b", 8, for_s=9), asked("c", 1, for_s=1)]
    ),
    "who is not asked is stopped": Row([ready("a", asked=NOW - 300, since=NOW - 400)], stops="a:idle"),
    "not before its time": Row([ready("a", asked=NOW - 299)]),
    "not while it answers": Row([ready("a", asked=NOW - 900, active=1)]),
    "its time begins when it is ready": Row([ready("a", asked=NOW - 900, since=NOW - 200)]),
    "what idles away leaves room": Row(
        [ready("a", 8, asked=NOW - 300, since=NOW - 400), asked("b", 8)], stops="a:idle"
    ),
    "a failed one rests": Row([failed("a", for_s=59)]),
    "a failed one is tried again": Row([failed("a", for_s=60)], starts="a"),
    "a failed one holds nothing": Row([failed("a", for_s=1), asked("b", 10)], starts="b"),
}

JOBS: dict[str, Row] = {
    "a job trains beside the engines": Row([ready("a")], [waiting_job()], trains="j1"),
    "as many as there are slots": Row([], [waiting_job(1), waiting_job(2)], trains="j1"),
    "as many as fit": Row([], [waiting_job(1, 8), waiting_job(2, 8)], slots=2, trains="j1"),
    "one that is being published has its slot": Row([ready("a")], [publishing_job(), waiting_job()]),
    "one that ends has memory, and no slot": Row([], [ending_job(), waiting_job(1, 6)]),
}


def yielding(engines: list[EngineFacts], jobs: list[JobFacts], **expected: object) -> Row:
    return Row(engines, jobs, policy=Policy.YIELD, **expected)  # type: ignore[arg-type]  # the fields of a row


YIELDING: dict[str, Row] = {
    "without jobs, engines run as ever": yielding([away("a", why=Why.NEW)], [], starts="a"),
    "engines leave for a job when nobody asks": yielding(
        [ready("a")], [waiting_job()], stops="a:training", holder=Holder.JOBS
    ),
    "not so soon after a request": yielding([ready("a", asked=NOW - 4)], [waiting_job()]),
    "not so soon after the start": yielding([ready("a", asked=0, since=NOW - 4)], [waiting_job()]),
    "not while they answer": yielding([ready("a", active=1, since=NOW - 59)], [waiting_job()]),
    "after a minute they do": yielding(
        [ready("a", active=1, since=NOW - 60)], [waiting_job()], stops="a:training", holder=Holder.JOBS
    ),
    "not while they start": yielding([starting("a")], [waiting_job()]),
    "a job waits until they have gone": yielding(
        [stopping("a")], [waiting_job()], turn=JOBS_TURN, holder=Holder.JOBS
    ),
    "a job trains when they have gone": yielding(
        [away("a", why=Why.TRAINING)], [waiting_job()], turn=JOBS_TURN, trains="j1", holder=Holder.JOBS
    ),
    "requests wait while it trains": yielding(
        [asked("a", why=Why.TRAINING)], [training_job()], turn=USED_TURN, holder=Holder.JOBS
    ),
    "requests that came meanwhile do not take its turn": yielding(
        [asked("a", why=Why.TRAINING)], [waiting_job()], turn=JOBS_TURN, trains="j1", holder=Holder.JOBS
    ),
    "after the job the engines come back": yielding(
        [away("a", why=Why.TRAINING), away("b", why=Why.IDLE)], [publishing_job()], turn=USED_TURN, starts="a"
    ),
    "before the next job, if requests wait": yielding(
        [asked("a", why=Why.TRAINING)], [waiting_job()], turn=USED_TURN, starts="a"
    ),
    "before the next job, if a model is to be published": yielding(
        [away("a", why=Why.TRAINING)], [publishing_job(), waiting_job()], slots=2, turn=USED_TURN, starts="a"
    ),
    "otherwise the next job follows": yielding(
        [away("a", why=Why.TRAINING)], [waiting_job()], turn=USED_TURN, trains="j1", holder=Holder.JOBS
    ),
    "no job joins another while requests wait": yielding(
        [asked("a", why=Why.TRAINING)], [training_job(0, 1), waiting_job(1, 1)], slots=2, turn=USED_TURN,
        holder=Holder.JOBS,
    ),
    "a turn that nobody uses ends": yielding(
        [asked("a", why=Why.TRAINING)], [waiting_job()], turn=Turn(Holder.JOBS, NOW - 120), starts="a"
    ),
    "a job that was cancelled gives the turn back": yielding(
        [away("a", why=Why.TRAINING)], [], turn=JOBS_TURN, starts="a"
    ),
    "a job that waits after a crash has no turn": yielding([ready("a")], [waiting_job(not_before=NOW + 1)]),
    "a job without a slot has no turn": yielding([ready("a")], [publishing_job(), waiting_job()]),
    "a trainer that is there has the device": yielding(
        [ready("a")], [training_job()], stops="a:training", holder=Holder.JOBS
    ),
    "also one that is ending": yielding([ready("a")], [ending_job()], stops="a:training", holder=Holder.JOBS),
    "what has not started yet waits for the job": yielding(
        [away("a", why=Why.NEW)], [training_job()], stops="a:training", holder=Holder.JOBS
    ),
    "where no engine runs a job starts at once": yielding(
        [away("a", why=Why.IDLE)], [waiting_job()], trains="j1", holder=Holder.JOBS
    ),
    "a request that is waiting goes first": yielding([asked("a")], [waiting_job()], starts="a"),
}  # fmt: skip


@pytest.mark.parametrize(
    "row", [*ENGINES.values(), *JOBS.values(), *YIELDING.values()], ids=[*ENGINES, *JOBS, *YIELDING]
)
def test_what_happens_next_is_what_the_table_says(row: Row) -> None:
    decided = decide(row)

    assert " ".join(decided.start_engines) == row.starts
    assert " ".join(f"{name}:{stop.why}" for name, stop in decided.stop_engines.items()) == row.stops
    assert " ".join(decided.put_off_engines) == row.puts_off
    assert " ".join(start.job_id for start in decided.start_jobs) == row.trains
    assert decided.turn.holder is row.holder


def test_who_gives_way_knows_to_whom() -> None:
    decided = decide(Row([ready("a", 8), asked("b", 8)]))
    assert decided.stop_engines["a"].in_favour_of == "b"


def test_a_turn_remembers_that_it_was_used() -> None:
    assert decide(yielding([], [training_job()], turn=JOBS_TURN)).turn == USED_TURN


def test_separate_trainers_go_to_the_emptiest_gpu_and_never_to_an_engines() -> None:
    engines = [replace(ready("a"), device=0), replace(asked("b"), device=1)]
    jobs = [replace(training_job(0), device=2), waiting_job(1), waiting_job(2)]
    resources = Resources(slots=3, engine_bytes={0: 10, 1: 10}, trainer_bytes={2: 10, 3: 10})
    decided = plan(Policy.SEPARATE, resources, Facts(engines, jobs), PATIENCE, NOW)

    assert decided.start_engines == ("b",)
    assert [(start.job_id, start.device) for start in decided.start_jobs] == [("j1", 3), ("j2", 2)]


def decide(row: Row) -> Plan:
    resources = Resources(slots=row.slots, engine_bytes={0: row.engine_bytes}, trainer_bytes={0: 10})
    return plan(row.policy, resources, Facts(row.engines, row.jobs, row.turn), PATIENCE, NOW)


@pytest.mark.parametrize(
    ("asked_at", "on_demand", "starts"), [(0.0, False, True), (0.0, True, False), (NOW - 10, True, True)]
)
def test_an_engine_that_failed_is_tried_again_a_full_models_only_if_it_was_asked_since(
    asked_at: float, on_demand: bool, starts: bool
) -> None:
    broken = replace(failed("f", for_s=70), asked_at=asked_at, on_demand=on_demand)
    decided = plan(Policy.SHARE, Resources(engine_bytes={0: 100}), Facts([ready("a"), broken], []), PATIENCE, NOW)
    assert decided.start_engines == (("f",) if starts else ())
