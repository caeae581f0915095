import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from server.auth.api_keys import create_key, ensure_default_project
from server.db.engine import open_database
from server.db.migrate import migrate
from server.metering.account import Account, Amount, minute_of
from server.metering.folding import Folder
from server.metering.journal import Journal
from server.metering.lines import render_line, sum_lines, whole_lines
from server.metering.meter import Meter, MeteredAnswer
from server.metering.repository import sum_usage
from server.metering.sums import UsageFilter

NOW = 1_800_000_030.0
EVER = UsageFilter(since=0, until=2**40)


class Tokens(NamedTuple):
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


NOTHING = Tokens(0, 0, 0)
AMOUNTS = st.builds(Amount, *[st.integers(-1000, 1000)] * 5)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    migrate(tmp_path / "tunesmith.db")
    engine = open_database(tmp_path / "tunesmith.db")
    yield engine
    engine.dispose()


@pytest.fixture
def project_id(database: Engine) -> str:
    return ensure_default_project(database, "personal").project_id


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[Meter]:
    meter = Meter(Journal(tmp_path / "usage"), clock=lambda: NOW)
    yield meter
    meter.close()


@pytest.fixture
def begin(meter: Meter, project_id: str) -> Callable[..., MeteredAnswer]:
    def begin(model: str = "tunesmith-demo") -> MeteredAnswer:
        return meter.begin(project_id=project_id, key_id="key_1", model=model, base_model="tunesmith-demo")

    return begin


def _folder(database: Engine, tmp_path: Path) -> Folder:
    return Folder(database, tmp_path / "usage")


def _folded(database: Engine, tmp_path: Path) -> Amount:
    _folder(database, tmp_path).fold()
    return sum([found.amount for found in sum_usage(database, EVER, width_s=60, group_by=[])], Amount())


def test_a_finished_answer_is_counted_to_the_token(
    begin: Callable[..., MeteredAnswer], database: Engine, tmp_path: Path
) -> None:
    answer = begin()
    answer.finish(Tokens(11, 4, 7))

    assert _folded(database, tmp_path) == Amount(1, 1, 11, 4, 7)


def test_what_ends_in_one_turn_is_written_at_once_and_only_then_sent(tmp_path: Path) -> None:
    postponed: list[Callable[[], None]] = []
    meter = Meter(Journal(tmp_path / "usage"), clock=lambda: NOW, soon=postponed.append)

    def on_disk() -> int:
        return sum(path.read_bytes().count(b"\n") for path in (tmp_path / "usage").glob("*.jsonl"))

    seen: list[int] = []
    for _ in range(3):
        meter.begin("proj", "key_1", "m", "m").finish(Tokens(1, 0, 2), then=lambda: seen.append(on_disk()))
    assert (seen, on_disk(), len(postponed)) == ([], 0, 1)
    postponed.pop()()
    assert seen == [3, 3, 3]

    meter.begin("proj", "key_1", "m", "m").finish(Tokens(1, 0, 2), then=lambda: seen.append(on_disk()))
    meter.close()
    assert seen == [3, 3, 3, 4]
    postponed.pop()()


def test_an_answer_is_counted_in_the_minute_in_which_it_was_asked_for(
    begin: Callable[..., MeteredAnswer], database: Engine, tmp_path: Path
) -> None:
    begin().finish(NOTHING)
    _folder(database, tmp_path).fold()

    assert [found.bucket for found in sum_usage(database, EVER, width_s=60, group_by=[])] == [minute_of(NOW)]


def test_ticks_and_the_end_of_an_answer_add_up_to_its_final_numbers(
    begin: Callable[..., MeteredAnswer], meter: Meter, database: Engine, tmp_path: Path
) -> None:
    answer = begin()
    for relayed in (None, 3, 9, 9):
        answer.so_far = lambda: None if relayed is None else Tokens(0, 0, relayed)  # noqa: B023  # asked at once
        meter.tick()
    answer.finish(Tokens(5, 0, 8))

    assert _folded(database, tmp_path) == Amount(1, 1, 5, 0, 8)


def test_of_a_cut_answer_what_was_relayed_is_counted_and_no_end(
    begin: Callable[..., MeteredAnswer], database: Engine, tmp_path: Path
) -> None:
    answer = begin()
    answer.so_far = lambda: Tokens(0, 0, 6)
    answer.cut()

    assert _folded(database, tmp_path) == Amount(1, 0, 0, 0, 6)


def test_a_finished_answer_can_not_be_cut_any_more(
    begin: Callable[..., MeteredAnswer], database: Engine, tmp_path: Path
) -> None:
    answer = begin()
    answer.finish(NOTHING)
    answer.so_far = lambda: Tokens(0, 0, 99)
    answer.cut()

    assert _folded(database, tmp_path) == Amount(1, 1, 0, 0, 0)


def test_folding_again_counts_nothing_again(
    begin: Callable[..., MeteredAnswer], database: Engine, tmp_path: Path
) -> None:
    begin().finish(NOTHING)
    first = _folded(database, tmp_path)
    again = _folded(database, tmp_path)
    begin().finish(NOTHING)

    assert (first, again) == (Amount(1, 1, 0, 0, 0),) * 2
    assert _folded(database, tmp_path) == Amount(2, 2, 0, 0, 0)


def test_a_torn_last_line_is_read_when_it_is_whole(project_id: str, database: Engine, tmp_path: Path) -> None:
    line = render_line(Account(project_id, "key_1", "m", "b", 0), Amount(1, 1, 2, 0, 3))
    journal = Journal(tmp_path / "usage")
    journal.append(line + line[:20])
    torn = _folded(database, tmp_path)
    journal.append(line[20:])

    assert torn == Amount(1, 1, 2, 0, 3)
    assert _folded(database, tmp_path) == Amount(2, 2, 4, 0, 6)
    journal.close()


def test_a_journal_of_a_dead_process_is_folded_and_removed(project_id: str, database: Engine, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "usage")
    journal.append(render_line(Account(project_id, "key_1", "m", "b", 0), Amount(1, 1, 2, 0, 3)) + b'["torn')
    journal.close()

    assert _folded(database, tmp_path) == Amount(1, 1, 2, 0, 3)
    assert list((tmp_path / "usage").iterdir()) == []
    assert _folded(database, tmp_path) == Amount(1, 1, 2, 0, 3)


def test_a_journal_that_is_written_stays(begin: Callable[..., MeteredAnswer], database: Engine, tmp_path: Path) -> None:
    begin().finish(NOTHING)
    _folder(database, tmp_path).fold()

    assert len(list((tmp_path / "usage").iterdir())) == 1
    assert _folder(database, tmp_path).unfolded_bytes() == 0


def test_a_long_journal_is_begun_anew_and_nothing_of_it_lost(project_id: str, database: Engine, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "usage", rotate_bytes=200)
    for _ in range(10):
        journal.append(render_line(Account(project_id, "key_1", "m", "b", 0), Amount(1, 1, 2, 0, 3)))

    assert len(list((tmp_path / "usage").iterdir())) > 1
    assert _folded(database, tmp_path) == Amount(10, 10, 20, 0, 30)
    assert len(list((tmp_path / "usage").iterdir())) == 1
    journal.close()


def test_usage_of_a_project_that_is_gone_holds_nothing_up(project_id: str, database: Engine, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "usage")
    for project in ("proj_gone", project_id):
        journal.append(render_line(Account(project, "key_1", "m", "b", 0), Amount(1, 1, 2, 0, 3)))

    assert _folded(database, tmp_path) == Amount(1, 1, 2, 0, 3)
    journal.close()


@pytest.mark.parametrize(
    "line", [b"{}", b"[1]", b"nonsense", b'["p","k","m","b",0,1,1,1,1,"1"]', b"[1,2,3,4,5,6,7,8,9,0]"]
)
def test_a_damaged_line_is_left_out_and_the_others_are_not(line: bytes) -> None:
    account = Account("p", "k", "m", "b", 60)
    whole = render_line(account, Amount(1, 1, 2, 0, 3))

    assert sum_lines(whole + line + b"\n" + whole) == {account: Amount(2, 2, 4, 0, 6)}


@given(st.lists(AMOUNTS, max_size=20), st.integers(0, 3000))
def test_reading_in_two_parts_comes_to_the_same_sum(amounts: list[Amount], cut: int) -> None:
    account = Account("p", "k", "m", "b", 60)
    raw = b"".join(render_line(account, amount) for amount in amounts)
    first = whole_lines(raw[:cut])
    parts = [sum_lines(part).get(account, Amount()) for part in (first, raw[len(first) :])]

    assert sum(parts, Amount()) == sum(amounts, Amount())


def test_a_full_disk_stops_nobody_and_loses_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "usage")
    file = next((tmp_path / "usage").iterdir())
    kept, journal._descriptor = journal._descriptor, os.open("/dev/full", os.O_WRONLY)
    journal.append(b"[1]\n")
    os.close(journal._descriptor)
    journal._descriptor = kept
    journal.append(b"[2]\n")

    assert file.read_bytes() == b"[1]\n[2]\n"
    journal.close()


def test_what_was_written_survives_a_kill_of_the_process(project_id: str, database: Engine, tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from server.metering.journal import Journal
from server.metering.meter import Meter
from server.relay.accounts import Usage
meter = Meter(Journal(Path({str(tmp_path / "usage")!r})))
asked = dict(project_id={project_id!r}, key_id="k", model="m", base_model="b")
whole, cut = meter.begin(**asked), meter.begin(**asked)
whole.finish(Usage(0, 5))
cut.so_far = lambda: Usage(0, 3)
meter.tick()
cut.so_far = lambda: Usage(0, 4)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9

    assert _folded(database, tmp_path) == Amount(2, 1, 0, 0, 8)


def test_sums_are_grouped_and_chosen_by_project_key_and_model(
    begin: Callable[..., MeteredAnswer], project_id: str, database: Engine, tmp_path: Path
) -> None:
    begin("one").finish(NOTHING)
    begin("two").finish(NOTHING)
    begin("two").finish(NOTHING)
    create_key(database, "another project")
    _folder(database, tmp_path).fold()
    grouped = sum_usage(database, EVER, width_s=3600, group_by=["project_id", "model"])
    chosen = UsageFilter(since=0, until=2**40, models=["one"], project_ids=[project_id], key_ids=["key_1"])

    assert [(found.group, found.amount.requests) for found in grouped] == [
        ({"project_id": project_id, "model": "one"}, 1),
        ({"project_id": project_id, "model": "two"}, 2),
    ]
    assert [found.amount.requests for found in sum_usage(database, chosen, width_s=60, group_by=[])] == [1]
    assert sum_usage(database, UsageFilter(since=0, until=60), width_s=60, group_by=[]) == []


def test_a_line_names_a_key_by_its_id_and_nothing_else(
    begin: Callable[..., MeteredAnswer], project_id: str, tmp_path: Path
) -> None:
    begin().finish(NOTHING)
    line = next((tmp_path / "usage").iterdir()).read_text()

    assert json.loads(line)[:4] == [project_id, "key_1", "tunesmith-demo", "tunesmith-demo"]
