"""What decides about batches, by table: their life, the lines of input, what answers mean, and whose turn it is."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.batches.input_file import Fault, InputIndex, index_input
from server.batches.input_lines import MOST_LINES, InputLine, LineFault, read_line
from server.batches.lifecycle import UNFINISHED, Step, ending, may_follow, next_step
from server.batches.outcomes import Again, Answer, Kind, Outcome, TokensUsed, judge, tokens_used
from server.batches.results import Result, ResultsFile, read_results
from server.batches.turns import BatchTurns, Ticket
from server.vocabulary import BatchStatus
from tests.batch_rig import ENDPOINT, line, lines

S = BatchStatus


@pytest.mark.parametrize("status", [S.COMPLETED, S.FAILED, S.EXPIRED, S.CANCELLED])
def test_a_terminal_status_is_never_left(status: BatchStatus) -> None:
    assert not any(may_follow(status, following) for following in BatchStatus)
    assert status not in UNFINISHED


@pytest.mark.parametrize(
    ("status", "has_unanswered", "now", "step"),
    [
        (S.VALIDATING, False, 0, Step.VALIDATE),
        (S.VALIDATING, False, 100, Step.VALIDATE),
        (S.IN_PROGRESS, True, 99, Step.RUN),
        (S.IN_PROGRESS, True, 100, Step.GIVE_UP),
        (S.IN_PROGRESS, False, 100, Step.PUBLISH),
        (S.FINALIZING, False, 100, Step.PUBLISH),
        (S.FINALIZING, True, 0, Step.RUN),  # its results were lost
        (S.CANCELLING, True, 0, Step.GIVE_UP),
        (S.CANCELLING, False, 0, Step.PUBLISH),
        (S.COMPLETED, False, 0, Step.NOTHING),
    ],
)
def test_each_status_has_its_step(status: BatchStatus, has_unanswered: bool, now: float, step: Step) -> None:
    assert next_step(status, has_unanswered=has_unanswered, expires_at=100, now=now) is step


@pytest.mark.parametrize(
    ("status", "n_expired", "ended"),
    [(S.FINALIZING, 0, S.COMPLETED), (S.FINALIZING, 1, S.EXPIRED), (S.CANCELLING, 1, S.CANCELLED)],
)
def test_how_a_batch_ends(status: BatchStatus, n_expired: int, ended: BatchStatus) -> None:
    assert ending(status, n_expired=n_expired) is ended
    assert may_follow(status, ended)


@pytest.mark.parametrize(
    ("raw", "code", "param"),
    [
        (b"{", "invalid_json_line", None),
        (b"[]", "invalid_json_line", None),
        (b'{"custom_id": "\\ud800"}', "invalid_json_line", None),
        (line(None), "missing_required_parameter", "custom_id"),
        (line(7), "invalid_type", "custom_id"),
        (line(""), "invalid_custom_id", "custom_id"),
        (line("x" * 513), "invalid_custom_id", "custom_id"),
        (line("a", method=None), "missing_required_parameter", "method"),
        (line("a", method="GET"), "invalid_method", "method"),
        (line("a", url=None), "missing_required_parameter", "url"),
        (line("a", url="/v1/embeddings"), "mismatched_endpoint", "url"),
        (line("a", url=7), "invalid_url", "url"),
        (b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions"}', "missing_required_parameter", "body"),
        (b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":[]}', "invalid_type", "body"),
        (line("a", body={"model": None}), "missing_required_parameter", "body.model"),
        (line("a", body={"model": 7}), "invalid_type", "body.model"),
    ],
)
def test_what_is_wrong_with_a_line_is_named(raw: bytes, code: str, param: str | None) -> None:
    fault = read_line(raw, ENDPOINT)

    assert isinstance(fault, LineFault)
    assert (fault.code, fault.param) == (code, param)


def test_a_fault_repeats_nothing_of_its_line() -> None:
    canary = "canary-17"
    for raw in (line(canary, method=canary), line(canary, url=canary), line("a", body={"model": [canary]})):
        fault = read_line(raw, ENDPOINT)
        assert isinstance(fault, LineFault)
        assert canary not in repr(fault)


def test_a_right_line_is_a_request() -> None:
    read = read_line(line("a", body={"stream": True}), ENDPOINT)

    assert isinstance(read, InputLine)
    assert (read.custom_id, read.model, read.is_streamed) == ("a", "tunesmith-demo", True)


def test_every_wrong_line_is_named_by_its_number(tmp_path: Path) -> None:
    faults = _index(tmp_path, b"\n".join([line("a"), b"", b"{", line("a"), line("b", body={"model": "no"})]))

    assert isinstance(faults, list)
    assert [(fault.code, fault.line) for fault in faults] == [
        ("invalid_json_line", 3),
        ("duplicate_custom_id", 4),
        ("model_not_found", 5),
    ]


@pytest.mark.parametrize("content", [b"\n", b" \n\t\n", b"\xef\xbb\xbf"])
def test_a_file_without_requests_is_empty(tmp_path: Path, content: bytes) -> None:
    assert _index(tmp_path, content) == [
        Fault("empty_file", "The input file is empty. It needs at least one request.", None, None)
    ]


def test_no_more_than_a_hundred_faults_are_told(tmp_path: Path) -> None:
    assert len(_index(tmp_path, b"{\n" * 1000)) == 100


def test_a_file_has_at_most_fifty_thousand_requests(tmp_path: Path) -> None:
    assert isinstance(_index(tmp_path, lines(MOST_LINES)), InputIndex)
    (fault,) = _index(tmp_path, lines(MOST_LINES + 1))
    assert isinstance(fault, Fault)
    assert (fault.code, fault.line) == ("too_many_requests", MOST_LINES + 1)


def test_a_line_that_is_too_long_is_not_read_whole(tmp_path: Path) -> None:
    long = line("a", body={"user": "x" * 300_000})
    faults = _index(tmp_path, b"\n".join([line("b"), long, line("c"), long]), most_body_bytes=1000)

    assert isinstance(faults, list)
    assert [(fault.code, fault.line) for fault in faults] == [("line_too_long", 2), ("line_too_long", 4)]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_requests_are_read_again_where_they_stand(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "input"
    content = b"\xef\xbb\xbf" + b"\r\n\n".join(line(f"ü{n}") for n in range(3)) + end
    path.write_bytes(content)
    index = index_input(path, ENDPOINT, most_body_bytes=1000)
    assert isinstance(index, InputIndex)
    with path.open("rb") as file:
        assert [index.read(file, request, ENDPOINT).custom_id for request in (2, 0, 1)] == ["ü2", "ü0", "ü1"]


@pytest.mark.parametrize(
    ("status", "code", "ready", "falls", "faults", "again"),
    [
        (200, None, True, 0, 0, None),
        (400, "invalid_value", True, 0, 0, None),
        (404, "model_not_found", True, 0, 0, None),
        (429, "rate_limit_exceeded", True, 99, 0, Again.AWAY),
        (503, "engine_unavailable", False, 99, 0, Again.AWAY),
        (503, "engine_unavailable", True, 9, 0, Again.FELL),
        (503, "engine_unavailable", True, 10, 0, None),
        (503, "model_not_servable", True, 0, 0, None),
        (500, None, True, 0, 2, Again.FAULT),
        (500, None, True, 0, 3, None),
    ],
)
def test_what_an_answer_means(
    status: int, code: str | None, ready: bool, falls: int, faults: int, again: Again | None
) -> None:
    body = json.dumps({"error": {"code": code}}).encode()

    assert judge(Answer(status, "req", body), engine_was_ready=ready, falls=falls, faults=faults) is again


@pytest.mark.parametrize(
    ("usage", "used"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": None}, (3, 0, 2, 0)),
        ({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}}, (3, 1, 0, 0)),
        (
            {
                "input_tokens": 4,
                "input_tokens_details": {"cached_tokens": 1},
                "output_tokens": 5,
                "output_tokens_details": {"reasoning_tokens": 2},
            },
            (4, 1, 5, 2),
        ),
        (None, (0, 0, 0, 0)),
    ],
)
def test_usage_is_read_of_every_route(usage: Any, used: tuple[int, ...]) -> None:
    assert tokens_used({"usage": usage}) == used


@given(st.integers(0, 400))
def test_whatever_a_kill_tears_off_the_rest_of_the_results_stands(cut: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "results"
        whole = ResultsFile(path, 5)
        whole.append([Result(n, Outcome(Kind.ANSWERED, b'{"n":%d}' % n, TokensUsed(1, 0, 2, 0))) for n in range(5)])
        whole.close()
        content = path.read_bytes()
        path.write_bytes(content[: max(0, len(content) - cut)])
        again = ResultsFile(path, 5)
        kept = again.tally.completed
        again.append([Result(n, Outcome(Kind.REFUSED, b'{"n":%d}' % n)) for n in range(5) if not again.is_answered[n]])
        again.close()

        assert kept == content[: max(0, len(content) - cut)].count(b"\n")
        assert sorted(found.request for found in read_results(path, 5)) == list(range(5))
        assert (again.tally.completed, again.tally.failed) == (kept, 5 - kept)


def test_a_damaged_result_is_none_and_a_second_one_counts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "results"
    path.write_bytes(b'0 a 1 0 2 0\t{}\nnonsense\n1 z 0 0 0 0\t{}\n9 a 1 1 1 1\t{}\n0 r 0 0 0 0\t{"second":1}\n')
    results = ResultsFile(path, 3)
    results.close()

    assert list(results.is_answered) == [1, 0, 0]
    assert (results.tally.completed, results.tally.failed, results.tally.used) == (1, 0, (1, 0, 2, 0))


def test_an_engine_is_asked_more_at_once_as_it_answers() -> None:
    turns = _turns({"a": ("p", [("e", n) for n in range(100)])})
    assert len(_take_all(turns, 0)) == 1
    turns.ended(Ticket("a", "e", 0), has_answered=True, now=0)
    assert len(_take_all(turns, 0)) == 2


def test_no_more_than_the_most_are_under_way() -> None:
    turns = _turns({"a": ("p", [("e", n) for n in range(100)])}, most=3)
    for _ in range(10):
        for ticket in _take_all(turns, 0):
            turns.ended(ticket, has_answered=True, now=0)
    assert len(_take_all(turns, 0)) == 3


def test_after_each_failure_an_engine_is_left_alone_for_longer() -> None:
    turns = _turns({"a": ("p", [("e", n) for n in range(9)])})
    now = 0.0
    for wait in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        (ticket,) = _take_all(turns, now)
        turns.ended(ticket, has_answered=False, now=now)
        assert _take_all(turns, now + wait - 0.1) == []
        now += wait


def test_projects_share_equally_and_so_do_their_batches() -> None:
    turns = _turns(
        {
            "large": ("p", [("e", n) for n in range(100)]),
            "small": ("q", [("f", n) for n in range(100)]),
            "other": ("q", [("g", n) for n in range(100)]),
        },
        most=8,
    )
    for _ in range(12):
        for ticket in _take_all(turns, 0):
            turns.ended(ticket, has_answered=True, now=0)
    taken = [ticket.batch for ticket in _take_all(turns, 0)]

    assert (taken.count("large"), taken.count("small"), taken.count("other")) == (4, 2, 2)


def test_an_engine_that_is_away_is_called_once_there_is_nothing_else_to_do() -> None:
    turns = _turns({"a": ("p", [("here", 0), ("away", 1), ("away", 2), ("gone", 3)])})
    turns.see({"away", "gone"}, 0)
    (first,) = _take_all(turns, 0)
    assert first.engine == "here"
    turns.ended(first, has_answered=True, now=1)
    (called,) = _take_all(turns, 1)  # one of the two, by one request
    assert called.engine == "away"
    turns.see({"gone"}, 2)
    turns.ended(called, has_answered=True, now=3)
    assert [ticket.engine for ticket in _take_all(turns, 3)] == ["away"]


def test_an_engine_that_is_away_does_not_wait_for_ever_for_the_others() -> None:
    turns = _turns({"a": ("p", [("here", n) for n in range(9)] + [("away", 9)])}, most=2)
    turns.see({"away"}, 0)
    assert [ticket.engine for ticket in _take_all(turns, 299)] == ["here"]
    assert [ticket.engine for ticket in _take_all(turns, 300)] == ["away"]


def test_what_is_put_off_comes_back_in_its_time() -> None:
    turns = _turns({"a": ("p", [("e", 0)])})
    (ticket,) = _take_all(turns, 0)
    turns.ended(ticket, has_answered=True, now=0)
    turns.put_off(ticket, tries=2, now=0)
    assert _take_all(turns, 1.9) == []
    assert _take_all(turns, 2.0) == [ticket]


def test_of_a_batch_that_is_gone_nothing_is_sent() -> None:
    turns = _turns({"a": ("p", [("e", 0), ("e", 1)])})
    (ticket,) = _take_all(turns, 0)
    turns.remove("a")
    turns.ended(ticket, has_answered=True, now=0)
    turns.put_off(ticket, tries=0, now=0)
    assert _take_all(turns, 99) == []


def _turns(batches: dict[str, tuple[str, list[tuple[str, int]]]], most: int = 100) -> BatchTurns:
    turns = BatchTurns(most)
    for name, (project, requests) in batches.items():
        turns.add(name, project, requests)
    return turns


def _take_all(turns: BatchTurns, now: float) -> list[Ticket]:
    taken = []
    while (ticket := turns.next(now)) is not None:
        taken.append(ticket)
    return taken


def _index(tmp_path: Path, content: bytes, most_body_bytes: int = 1_000_000) -> InputIndex | list[Fault]:
    path = tmp_path / "input"
    path.write_bytes(content)
    return index_input(path, ENDPOINT, most_body_bytes=most_body_bytes, is_model=lambda name: name != "no")
