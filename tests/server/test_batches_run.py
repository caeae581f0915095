"""Batches from their file to their files: each request once, whatever is killed, away, cancelled or too late."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import select

from server.auth.api_keys import create_key
from server.batches import repository
from server.bootstrap import build_services
from server.db.project_session import project_session
from server.db.tables import FileRow, WebhookDeliveryRow
from server.files import service as files
from server.ids import ProjectId
from server.storage.blob_store import BlobKey
from server.vocabulary import BatchStatus, FilePurpose
from tests.batch_rig import BatchRig, chat_answer, expected_ids, line, lines, sequence_of
from tests.factories import make_webhook_endpoint
from tests.running_api import make_settings


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[BatchRig]:
    services = build_services(make_settings(tmp_path / "home"))
    key = create_key(services.database, "mine").plaintext
    project = services.authenticator.authenticate([(b"authorization", b"Bearer " + key.encode())]).project_id
    yield BatchRig(services, project)
    services.database.dispose()


def test_every_request_is_answered_once_and_counted(rig: BatchRig) -> None:
    make_webhook_endpoint(rig.services, rig.project_id)
    batch = rig.make(lines(20))
    rig.work()
    row = rig.see(batch)

    assert (row.status, row.total, row.completed, row.failed) == (BatchStatus.COMPLETED, 20, 20, 0)
    assert sorted(rig.ids(batch)) == sorted(expected_ids(20))
    assert (row.input_tokens, row.cached_tokens, row.output_tokens) == (100, 60, 40)
    assert row.model == "tunesmith-demo"
    assert row.error_file_id is None
    assert None not in (row.in_progress_at, row.finalizing_at, row.completed_at)
    with project_session(rig.services.database, rig.project_id) as session:
        file = session.get_one(FileRow, row.output_file_id)
        (told,) = session.exec(select(WebhookDeliveryRow)).all()
    assert (file.purpose, file.expires_at) == (FilePurpose.BATCH_OUTPUT, file.created_at + 30 * 86400)
    assert (told.event_type, told.object_id) == ("batch.completed", batch)
    assert [path for path in rig.services.settings.batches.iterdir() if path.is_dir()] == []


def test_a_line_of_the_output_is_openais(rig: BatchRig) -> None:
    batch = rig.make(lines(1))
    rig.work()
    (found,) = rig.file(rig.see(batch).output_file_id)

    assert found["id"].startswith("batch_req_")
    assert found["custom_id"] == "r0"
    assert found["response"]["status_code"] == 200
    assert found["response"]["request_id"].startswith("req_")
    assert found["response"]["body"]["object"] == "chat.completion"
    assert found["error"] is None


@pytest.mark.parametrize("kill_at", [1, 2, 5, 19, 20])
def test_a_kill_while_it_runs_loses_and_doubles_nothing(rig: BatchRig, kill_at: int) -> None:
    batch = rig.make(b"".join(line(f"r{n}", body={"seed": n}) + b"\n" for n in range(20)))
    rig.answers.kill_at = kill_at
    rig.kill_during()
    assert rig.see(batch).status is BatchStatus.IN_PROGRESS
    rig.work()
    row = rig.see(batch)

    assert (row.status, row.completed, row.failed) == (BatchStatus.COMPLETED, 20, 0)
    assert sorted(rig.ids(batch)) == sorted(expected_ids(20))


def test_a_request_whose_result_was_written_is_not_run_again(rig: BatchRig) -> None:
    batch = rig.make(b"".join(line(f"r{n}", body={"seed": n}) + b"\n" for n in range(20)))
    rig.answer_only(batch, 5)
    before = list(rig.answers.answered)
    rig.work()

    assert [rig.answers.answered[body] for body in before] == [1] * 5
    assert sorted(rig.ids(batch)) == sorted(expected_ids(20))


def test_a_torn_last_result_is_run_again(rig: BatchRig) -> None:
    batch = rig.make(lines(20))
    rig.answer_only(batch, 5)
    results = rig.services.settings.batches / batch / "results"
    results.write_bytes(results.read_bytes()[:-7])
    rig.work()

    assert sorted(rig.ids(batch)) == sorted(expected_ids(20))


@pytest.mark.parametrize(
    "kill", [{"kill_before": 1}, {"kill_after": 1}, {"kill_before": 2}, {"kill_after": 2}], ids=str
)
def test_a_kill_while_files_are_published_leaves_them_whole_or_away(rig: BatchRig, kill: dict[str, int]) -> None:
    batch = rig.make(lines(6) + line("bad", body={"stream": True}))
    vars(rig.blobs).update(kill)
    rig.kill_during()
    row = rig.see(batch)
    assert (row.status, row.output_file_id, row.error_file_id) == (BatchStatus.FINALIZING, None, None)
    with project_session(rig.services.database, rig.project_id) as session:
        assert len(files.list_files(session, after=None, limit=9, ascending=True, purpose=None).rows) == 1
    asked = len(rig.answers.asked)
    rig.work()
    row = rig.see(batch)

    assert (row.status, row.completed, row.failed) == (BatchStatus.COMPLETED, 6, 1)
    assert sorted(rig.ids(batch)) == sorted([*expected_ids(6), "bad"])
    assert len(rig.answers.asked) == asked


def test_a_streamed_request_is_an_error_of_its_line(rig: BatchRig) -> None:
    batch = rig.make(line("a", body={"stream": True}))
    rig.work()
    (found,) = rig.file(rig.see(batch).error_file_id)

    assert found["response"]["status_code"] == 400
    assert found["response"]["body"]["error"]["param"] == "stream"
    assert rig.answers.asked == []


def test_what_is_refused_is_in_the_error_file(rig: BatchRig) -> None:
    rig.answers.answer = lambda _: (400, {"error": {"code": "invalid_value"}})
    batch = rig.make(lines(2))
    rig.work()
    row = rig.see(batch)

    assert (row.status, row.completed, row.failed) == (BatchStatus.COMPLETED, 0, 2)
    assert row.output_file_id is None
    assert {found["response"]["status_code"] for found in rig.file(row.error_file_id)} == {400}


@pytest.mark.parametrize(
    "passing",
    [
        (429, {"error": {"code": "rate_limit_exceeded"}}),
        (503, {"error": {"code": "engine_unavailable"}}),
        (500, {"error": {"code": None}}),
    ],
    ids=str,
)
def test_what_passes_is_waited_for(rig: BatchRig, passing: tuple[int, dict[str, object]]) -> None:
    rig.answers.answer = sequence_of([passing] * 3)
    batch = rig.make(lines(1))
    rig.work()

    assert rig.see(batch).completed == 1
    assert len(rig.answers.asked) == 4


@pytest.mark.parametrize(("status", "tries"), [(500, 4), (503, 11)])
def test_a_request_under_which_the_engine_falls_each_time_ends_as_an_error(
    rig: BatchRig, status: int, tries: int
) -> None:
    rig.answers.answer = lambda _: (status, {"error": {"code": "engine_unavailable"}})
    batch = rig.make(lines(1))
    _hurry(rig)
    rig.work()

    assert rig.see(batch).failed == 1
    assert len(rig.answers.asked) == tries


def test_a_look_that_began_before_the_batch_did_ends_nothing(rig: BatchRig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.answers.answer = sequence_of(
        [(429, {"error": {"code": "rate_limit_exceeded"}})] * 3
    )  # for looks to come between
    batch = rig.make(lines(1))
    seen_early = repository.list_unfinished(rig.services.database)
    monkeypatch.setattr(repository, "list_unfinished", lambda _: seen_early)
    rig.work()

    assert rig.see(batch).completed == 1


def test_nobody_there_is_waited_for_as_long_as_it_takes(rig: BatchRig) -> None:
    rig.answers.is_away = True
    batch = rig.make(lines(2))
    rig.work(until=lambda: len(rig.answers.asked) >= 4)
    assert rig.see(batch).failed == 0
    rig.answers.is_away = False
    rig.work()

    assert rig.see(batch).completed == 2


def test_when_the_window_ends_what_was_not_run_has_expired(rig: BatchRig) -> None:
    batch = rig.make(lines(3))
    rig.answer_only(batch, 1)
    rig.answers.is_away = True
    rig.now += 86400
    rig.work()
    row = rig.see(batch)

    assert (row.status, row.completed, row.failed) == (BatchStatus.EXPIRED, 1, 2)
    assert row.expired_at is not None
    assert {found["error"]["code"] for found in rig.file(row.error_file_id)} == {"batch_expired"}
    assert sorted(rig.ids(batch)) == expected_ids(3)


def test_a_cancelled_batch_keeps_what_it_has(rig: BatchRig) -> None:
    batch = rig.make(lines(200))
    rig.answer_only(batch, 3)
    rig.cancel(batch)
    assert rig.see(batch).status is BatchStatus.CANCELLING
    rig.work()
    row = rig.see(batch)

    assert row.status is BatchStatus.CANCELLED
    assert (row.completed, row.failed) == (3, 197)
    assert sorted(rig.ids(batch)) == sorted(expected_ids(200))
    assert {found["error"]["code"] for found in rig.file(row.error_file_id)} == {"batch_cancelled"}


def test_a_kill_while_it_is_cancelled_ends_in_the_same(rig: BatchRig) -> None:
    batch = rig.make(lines(50))
    rig.answer_only(batch, 1)
    rig.cancel(batch)
    rig.blobs.kill_after = 1
    rig.kill_during()
    assert rig.see(batch).status is BatchStatus.CANCELLING
    rig.work()

    assert rig.see(batch).status is BatchStatus.CANCELLED
    assert sorted(rig.ids(batch)) == sorted(expected_ids(50))


def test_a_batch_that_is_cancelled_before_it_is_looked_at_has_no_files(rig: BatchRig) -> None:
    batch = rig.make(lines(2))
    rig.cancel(batch)
    rig.work()
    row = rig.see(batch)

    assert (row.status, row.output_file_id, row.error_file_id) == (BatchStatus.CANCELLED, None, None)
    assert rig.answers.asked == []


def test_the_input_may_be_deleted_while_the_batch_runs(rig: BatchRig) -> None:
    batch = rig.make(lines(20))
    rig.answer_only(batch, 1)
    _delete_input(rig, batch)
    rig.work()

    assert rig.see(batch).completed == 20


def test_a_batch_whose_input_is_deleted_before_it_is_looked_at_fails(rig: BatchRig) -> None:
    make_webhook_endpoint(rig.services, rig.project_id)
    batch = rig.make(lines(20))
    _delete_input(rig, batch)
    rig.work()
    row = rig.see(batch)

    assert (row.status, [error["code"] for error in row.errors or ()]) == ("failed", ["input_file_not_found"])
    with project_session(rig.services.database, rig.project_id) as session:
        assert [found.event_type for found in session.exec(select(WebhookDeliveryRow))] == ["batch.failed"]


def test_a_small_batch_is_not_kept_waiting_by_a_large_one(rig: BatchRig) -> None:
    key = create_key(rig.services.database, "theirs").plaintext
    theirs = rig.services.authenticator.authenticate([(b"authorization", b"Bearer " + key.encode())]).project_id
    large = rig.make(lines(400))
    rig.answer_only(large, 1)
    small = rig.make(lines(10), ProjectId(theirs))
    asked_before = len(rig.answers.asked)
    rig.work(until=lambda: rig.see(small, ProjectId(theirs)).status is BatchStatus.COMPLETED)

    asked = [request.project_id for request in rig.answers.asked[asked_before:]]
    first, last = asked.index(theirs), len(asked) - asked[::-1].index(theirs)
    assert last - first <= 10 * 3


def test_no_more_are_under_way_than_may_be(rig: BatchRig) -> None:
    rig.make(lines(50))
    rig.work(most_at_once=3)

    assert 1 < rig.answers.most_under_way <= 3


def test_a_fault_of_the_disk_ends_nothing_and_is_tried_again_later(rig: BatchRig) -> None:
    batch = rig.make(lines(5))
    rig.services.settings.batches.mkdir(exist_ok=True)
    in_the_way = rig.services.settings.batches / batch / "results"
    in_the_way.mkdir(parents=True)
    rig.work(until=lambda: rig.see(batch).status is BatchStatus.IN_PROGRESS)
    in_the_way.rmdir()
    rig.now += 60
    rig.work()

    assert rig.see(batch).completed == 5


def _hurry(rig: BatchRig) -> None:
    """Have each answer take half a minute, so that no wait is one."""
    answer = rig.answers.answer or chat_answer

    def later(body: dict[str, object]) -> tuple[int, dict[str, object]]:
        rig.now += 31
        return answer(body)

    rig.answers.answer = later


def _delete_input(rig: BatchRig, batch: str) -> None:
    file_id = rig.see(batch).input_file_id
    with project_session(rig.services.database, rig.project_id, write=True) as session:
        files.delete_file(session, file_id)
    rig.services.blobs.delete(BlobKey(file_id))
