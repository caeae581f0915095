"""`tunesmith import openai --rerun`, and imports that are killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, col, select

from server.__main__ import main
from server.db.system_session import system_session
from server.db.tables import CheckpointRow, FileRow, JobEventRow, JobRow, ModelAliasRow
from server.vocabulary import JobStatus
from tests.job_rig import MakeRig, Rig
from tests.stub_account import FT_NAME, KEY, StubAccount, make_account, told_file, told_job

ROOT = Path(__file__).resolve().parents[2]
TABLE = '"gpt-4o-mini" = "tunesmith-demo"\n'


@pytest.fixture
def account() -> Iterator[StubAccount]:
    account = make_account()
    with account.serving():
        yield account


@pytest.fixture
def rig(make_rig: MakeRig, account: StubAccount, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", account.url)
    return make_rig()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "bases.toml"
    path.write_text(TABLE)
    return path


def run(rig: Rig, *words: str) -> int:
    return main(["import", "openai", "--home", str(rig.services.settings.home), *words])


def repetitions(rig: Rig) -> list[JobRow]:
    with system_session(rig.services.database) as session:
        query = select(JobRow).where(col(JobRow.rerun_of).is_not(None)).order_by(col(JobRow.seq))
        return list(session.exec(query))


def aliases(rig: Rig) -> dict[str, str]:
    with system_session(rig.services.database) as session:
        return {row.name: row.target for row in session.exec(select(ModelAliasRow))}


def test_jobs_that_succeeded_are_made_again_once(
    rig: Rig, table: Path, account: StubAccount, capsys: pytest.CaptureFixture[str]
) -> None:
    account.lists["/fine_tuning/jobs"].append(told_job("ftjob-0", model="gpt-4.1-2025-04-14"))
    account.lists |= {"/fine_tuning/jobs/ftjob-0/events": [], "/fine_tuning/jobs/ftjob-0/checkpoints": []}
    assert run(rig, "--rerun", str(table)) == 0
    (job,) = repetitions(rig)
    assert (job.rerun_of, job.requested_model, job.training_file) == ("ftjob-1", "tunesmith-demo", "file-train")
    assert (job.seed, job.user_provided_suffix, job.origin) == (7, "shop", None)
    asked = {"n_epochs": 2, "batch_size": 5, "learning_rate_multiplier": 1.8}
    assert job.requested_hyperparameters == asked
    printed = capsys.readouterr().out
    assert f"ftjob-1 is repeated on tunesmith-demo as {job.id}" in printed
    assert "the table has no entry for gpt-4.1-2025-04-14: ftjob-0" in printed
    assert run(rig, "--rerun", str(table)) == 0
    assert [row.id for row in repetitions(rig)] == [job.id]


@pytest.mark.parametrize(("status", "n_jobs"), [(JobStatus.FAILED, 2), (JobStatus.CANCELLED, 1), (JobStatus.QUEUED, 1)])
def test_only_a_repetition_that_failed_is_made_again(rig: Rig, table: Path, status: JobStatus, n_jobs: int) -> None:
    run(rig, "--rerun", str(table))
    with system_session(rig.services.database, write=True) as session:
        session.get_one(JobRow, repetitions(rig)[0].id).status = status
    run(rig, "--rerun", str(table), "--offline")
    assert len(repetitions(rig)) == n_jobs


def test_the_old_name_answers_from_the_new_model_and_jobs_that_went_on_from_it_follow(
    rig: Rig, table: Path, account: StubAccount, capsys: pytest.CaptureFixture[str]
) -> None:
    further = told_job("ftjob-3", model=FT_NAME, fine_tuned_model="ft:gpt-4o-mini-2024-07-18:acme:shop:BBBBBBBB")
    account.lists["/fine_tuning/jobs"].insert(0, further)
    account.lists |= {"/fine_tuning/jobs/ftjob-3/events": [], "/fine_tuning/jobs/ftjob-3/checkpoints": []}
    run(rig, "--rerun", str(table))
    assert "it goes on from a model whose job has to succeed here first" in capsys.readouterr().out
    (first,) = repetitions(rig)
    done = rig.finish(first)
    assert (done.status, aliases(rig)) == (JobStatus.SUCCEEDED, {FT_NAME: done.fine_tuned_model})

    assert run(rig, "--rerun", str(table), "--offline") == 0
    _, second = repetitions(rig)
    assert (second.rerun_of, second.parent_model) == ("ftjob-3", done.fine_tuned_model)


def test_a_job_of_preferences_is_made_again_with_its_beta(rig: Rig, table: Path, account: StubAccount) -> None:
    told = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 1.8, "beta": 0.2}
    method = {"type": "dpo", "dpo": {"hyperparameters": told}}
    account.lists["/fine_tuning/jobs"] = [told_job("ftjob-1", method=method, hyperparameters=None)]
    assert run(rig, "--rerun", str(table)) == 0
    (job,) = repetitions(rig)
    assert (job.method, job.requested_hyperparameters) == ("dpo", told)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"training_file": "file-gone"}, "invalid training_file: file-gone"),
        ({"hyperparameters": {"n_epochs": 99}}, "its method.supervised.hyperparameters.n_epochs is none"),
        ({"method": {"type": "reinforcement", "reinforcement": {}}}, "The method 'reinforcement' is not offered"),
    ],
)
def test_a_job_that_cannot_be_made_here_is_listed(
    rig: Rig,
    table: Path,
    account: StubAccount,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    reason: str,
) -> None:
    account.lists["/fine_tuning/jobs"] = [told_job("ftjob-1", **change)]
    assert run(rig, "--rerun", str(table)) == 0
    assert reason in capsys.readouterr().out
    assert repetitions(rig) == []


@pytest.mark.parametrize("text", ["", "not toml", '"a" = 1', '"gpt-4o-mini" = "mistyped"', '["x"]\n"a" = "b"'])
def test_a_table_that_is_none_is_refused_before_anything_is_copied(rig: Rig, table: Path, text: str) -> None:
    table.write_text(text)
    assert run(rig, "--rerun", str(table)) == 1
    assert run(rig, "--rerun", str(table / "not there")) == 1
    with system_session(rig.services.database) as session:
        assert session.exec(select(FileRow)).all() == []


def test_offline_alone_says_what_is_missing(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(rig, "--offline") == 1
    assert "--rerun" in capsys.readouterr().err


def test_an_import_that_is_killed_anywhere_goes_on_and_shows_nothing_half_done(rig: Rig, account: StubAccount) -> None:
    account.lists |= {
        "/evals": [{"id": "eval_1"}],
        "/evals/eval_1/runs": [{"id": "run_1"}],
        "/evals/eval_1/runs/run_1/output_items": [{"id": f"item_{n}"} for n in range(5)],
    }
    account.lists["/files"].append(told_file("file-large"))
    account.contents["file-large"] = b"x" * 3_000_000
    for path in (
        "/files/file-result/content",
        "/files/file-large/content",
        "/fine_tuning/jobs/ftjob-1/checkpoints",
        "/fine_tuning/jobs/ftjob-2/events",
        "/evals/eval_1/runs/run_1/output_items",
    ):
        _run_until_killed_at(rig, account, path)
        with system_session(rig.services.database) as session:
            _assert_whole(rig, session)
    account.on_asked = lambda _: None
    assert run(rig) == 0
    with system_session(rig.services.database) as session:
        assert set(session.exec(select(FileRow.id))) == set(account.contents)
        assert set(session.exec(select(JobRow.id))) == {"ftjob-1", "ftjob-2"}
    (results,) = rig.services.settings.imports.glob("*/eval_results.jsonl")
    assert len(results.read_text().splitlines()) == 5
    assert account.asked["/files/file-train/content"] == 1


def _run_until_killed_at(rig: Rig, account: StubAccount, path: str) -> None:
    importing = subprocess.Popen(
        [sys.executable, "-m", "server", "import", "openai", "--home", str(rig.services.settings.home)],
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.DEVNULL,
    )
    account.on_asked = lambda asked: importing.kill() if asked == path else None
    assert importing.wait(timeout=60) == -signal.SIGKILL


def _assert_whole(rig: Rig, session: Session) -> None:
    for file in session.exec(select(FileRow)):
        assert (rig.services.settings.blobs / file.id).stat().st_size == file.bytes
    for job in session.exec(select(JobRow).where(JobRow.id == "ftjob-1")):
        events = session.exec(select(JobEventRow).where(JobEventRow.job_id == job.id)).all()
        checkpoints = session.exec(select(CheckpointRow).where(CheckpointRow.job_id == job.id)).all()
        assert (len(events), len(checkpoints)) == (3, 1)
