"""The parts of an import that need no account: waiting, base64, OpenAI's objects, tables of successors, archives."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from server.importing.account import read_account
from server.importing.archive import Archive
from server.importing.back_off import MOST_TRIES, wait_before_next
from server.importing.base64_text import plain_text
from server.importing.errors import ImportFailed, ObjectFailed
from server.importing.objects import checkpoint_row, event_row, job_row
from server.importing.successor_table import find_successor
from server.vocabulary import EventLevel, EventType

CSV = b"step,train_loss,train_accuracy\n" + b"".join(b"%d,1.52347,0.0\n" % step for step in range(400))
JOB: dict[str, Any] = {
    "object": "fine_tuning.job",
    "id": "ftjob-uL1VKpwx7maorHNbOiDwFIn6",
    "model": "gpt-4o-mini-2024-07-18",
    "created_at": 1746484925,
    "finished_at": 1746485841,
    "fine_tuned_model": "ft:gpt-4o-mini-2024-07-18:acme::BTz2REMH",
    "organization_id": "org-abc123",
    "result_files": ["file-9TLxKY2A8tC5YE1RULYxf6"],
    "status": "succeeded",
    "validation_file": None,
    "training_file": "file-training",
    "hyperparameters": {"n_epochs": 10, "batch_size": 1, "learning_rate_multiplier": 1.8},
    "trained_tokens": 1700,
    "error": {},
    "user_provided_suffix": None,
    "seed": 1935755117,
    "integrations": [],
    "metadata": None,
}


def test_the_key_is_shown_by_nothing() -> None:
    account = read_account({"OPENAI_API_KEY": "sk-secret", "OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj_1"})
    assert account.base_url == "https://api.openai.com/v1"
    assert account.headers() == {
        "Authorization": "Bearer sk-secret",
        "OpenAI-Organization": "org-1",
        "OpenAI-Project": "proj_1",
    }
    assert "sk-secret" not in repr(account)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OPENAI_API_KEY": "with\nnewline"},
        {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "ftp://a/v1"},
        {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "https://user:pw@a/v1"},
        {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://a:99999/v1"},
    ],
)
def test_an_account_that_cannot_be_asked_is_refused(environment: Mapping[str, str]) -> None:
    with pytest.raises(ImportFailed) as caught:
        read_account(environment)
    assert "pw@" not in str(caught.value)


@pytest.mark.parametrize(
    ("tries", "status", "headers", "expected"),
    [
        (1, 429, {}, 0.5),
        (3, 500, {}, 2.0),
        (7, None, {}, 32.0),
        (MOST_TRIES, 500, {}, None),
        (1, 404, {}, None),
        (1, 403, {}, None),
        (1, 302, {}, None),
        (1, 429, {"retry-after": "7"}, 7.0),
        (1, 429, {"retry-after": "7", "retry-after-ms": "250"}, 0.25),
        (1, 429, {"retry-after": "Thu, 01 Jan 1970 00:16:50 GMT"}, 10.0),
        (1, 429, {"retry-after": "3600"}, None),
        (1, 429, {"retry-after": "soon"}, 0.5),
        (1, 429, {"retry-after": "nan"}, 0.5),
        (1, 500, {"x-should-retry": "false"}, None),
    ],
)
def test_waiting_follows_the_server_and_else_doubles(
    tries: int, status: int | None, headers: Mapping[str, str], expected: float | None
) -> None:
    assert wait_before_next(tries, status, headers, now=1000.0) == expected


@pytest.mark.parametrize("size", [1, 7, 4096, 10**6])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (CSV, CSV),
        (base64.b64encode(CSV), CSV),
        (base64.encodebytes(CSV), CSV),
        (base64.b64encode(b"a,b\r\n1,2"), b"a,b\r\n1,2"),
        (b"", b""),
        (b"nobase64atall", b"nobase64atall"),
        (b"step\n1\n2\n", b"step\n1\n2\n"),
    ],
)
def test_base64_of_a_csv_file_is_decoded_and_all_else_is_left(content: bytes, expected: bytes, size: int) -> None:
    chunks = [content[start : start + size] for start in range(0, len(content), size)]
    assert b"".join(plain_text(chunks)) == expected


def test_base64_that_breaks_off_is_no_file() -> None:
    with pytest.raises(ObjectFailed):
        b"".join(plain_text([base64.b64encode(CSV)[:-1]]))


def test_a_job_keeps_what_it_was() -> None:
    row = job_row("p", JOB)
    assert (row.id, row.origin, row.status, row.stage) == (JOB["id"], "openai", "succeeded", None)
    assert (row.method, row.hyperparameters, row.seed) == ("supervised", JOB["hyperparameters"], JOB["seed"])
    assert (row.error_code, row.fine_tuned_model) == (None, JOB["fine_tuned_model"])


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (None, ("auto", "auto", "auto")),
        ({"n_epochs": "auto", "batch_size": 2.0, "learning_rate_multiplier": 0.5}, ("auto", 2, 0.5)),
        ({"n_epochs": True, "batch_size": 1.5, "learning_rate_multiplier": "x"}, ("auto", "auto", "auto")),
    ],
)
def test_hyperparameters_that_no_job_has_here_are_auto(told: Any, expected: tuple[object, ...]) -> None:
    assert tuple((job_row("p", {**JOB, "hyperparameters": told}).hyperparameters or {}).values()) == expected


@pytest.mark.parametrize("field", ["id", "status", "created_at", "model", "training_file"])
def test_a_job_without_what_a_job_has_is_named_by_that_field(field: str) -> None:
    with pytest.raises(ObjectFailed, match=field):
        job_row("p", {name: value for name, value in JOB.items() if name != field})


def test_words_that_are_not_ours_become_the_nearest() -> None:
    told = {"id": "e", "created_at": 1, "level": "warning", "type": "moderation_checks", "message": "m", "data": [1]}
    row = event_row(job_row("p", JOB), told)
    assert (row.level, row.type, row.data) == (EventLevel.WARN, EventType.MESSAGE, None)


def test_metrics_that_are_no_numbers_are_left_out() -> None:
    told = {"id": "c", "created_at": 1, "fine_tuned_model_checkpoint": "ft:x", "step_number": 5}
    row = checkpoint_row(job_row("p", JOB), {**told, "metrics": {"train_loss": 0.5, "a": None, "b": float("nan")}})
    assert row.metrics == {"train_loss": 0.5}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o-mini-2024-07-18", "small"),
        ("gpt-4o-mini", "small"),
        ("gpt-4o-2024-08-06", "exact"),
        ("gpt-4o-2024-11-20", None),
        ("gpt-3.5-turbo-0125", "old"),
        ("ft:gpt-4o-mini-2024-07-18:acme::AAAAAAAA", None),
    ],
)
def test_a_name_without_its_date_stands_for_all_of_its_snapshots(model: str, expected: str | None) -> None:
    table = {"gpt-4o-mini": "small", "gpt-4o-2024-08-06": "exact", "gpt-3.5-turbo": "old"}
    assert find_successor(table, model) == expected


def test_an_archive_goes_on_after_a_cut_line_and_keeps_the_newest_form(tmp_path: Path) -> None:
    path = tmp_path / "evals.jsonl"
    with Archive(path) as archive:
        archive.add({"id": "a", "v": 1}, {"messages": []})
        archive.add({"id": "b", "v": 1})
    with path.open("ab") as file:
        file.write(b'{"id": "c", "v"')
    with Archive(path) as archive:
        assert archive.holds({"v": 1, "id": "a"})
        archive.add({"id": "a", "v": 1})
        archive.add({"id": "b", "v": 2})
        archive.add({"id": "c", "v": 1})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"id": "a", "v": 1, "messages": []}, {"id": "b", "v": 2}, {"id": "c", "v": 1}]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_no_archive_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "evals.jsonl"
    path.write_text("my notes\n")
    with pytest.raises(ImportFailed, match="line 1"), Archive(path):
        pass
    assert path.read_text() == "my notes\n"
