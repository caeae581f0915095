"""`tunesmith import openai`, from a second Tunesmith and from a stub that answers as OpenAI does."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlmodel import select

from server.__main__ import main
from server.auth.api_keys import create_key
from server.bootstrap import Services, build_services
from server.db.system_session import system_session
from server.db.tables import FileRow, JobRow
from server.ids import ProjectId
from server.importing.account_import import import_lock
from server.vocabulary import FilePurpose, JobStatus
from tests.factories import make_checkpoint, make_file, make_job
from tests.running_api import Api, make_settings, serving
from tests.stub_account import CSV, FT_NAME, KEY, TRAINING, Fault, StubAccount, make_account, told_job
from tests.told_completions import told_completion, told_messages


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """The home that is imported into."""
    services = build_services(make_settings(tmp_path / "home", api_key="mine"))
    yield services
    services.database.dispose()


@pytest.fixture
def client(services: Services) -> Iterator[openai.OpenAI]:
    with (
        serving(services) as url,
        openai.OpenAI(base_url=url, api_key="mine", max_retries=0, _strict_response_validation=True) as client,
    ):
        yield client


@pytest.fixture
def account() -> Iterator[StubAccount]:
    account = make_account()
    with account.serving():
        yield account


@pytest.fixture
def run(services: Services, account: StubAccount, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command, with the stub as its account."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", account.url + "/")

    def run(*words: str) -> int:
        return main(["import", "openai", "--home", str(services.settings.home), *words])

    return run


def rows(services: Services) -> tuple[list[str], list[str]]:
    with system_session(services.database) as session:
        files, jobs = session.exec(select(FileRow.id)).all(), session.exec(select(JobRow.id)).all()
    return sorted(files), sorted(jobs)


def test_a_second_tunesmith_is_copied_under_its_ids(
    api: Api, services: Services, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = create_key(api.database, "moving out").plaintext
    caller = api.services.authenticator.authenticate([(b"authorization", f"Bearer {key}".encode())])
    source = _a_job_that_succeeded(api.services, caller.project_id)
    running = make_job(api.services, caller.project_id, status=JobStatus.RUNNING)
    monkeypatch.setenv("OPENAI_API_KEY", key)
    monkeypatch.setenv("OPENAI_BASE_URL", api.url)
    assert main(["import", "openai", "--home", str(services.settings.home)]) == 0
    with api.client(key) as there:
        expected = there.fine_tuning.jobs.retrieve(source.id)
        assert client.fine_tuning.jobs.retrieve(source.id) == expected
        for name in ("list_events", "checkpoints.list"):
            assert _listed(client, name, source.id) == _listed(there, name, source.id)
        theirs = list(there.files.list(order="asc"))
        assert list(client.files.list(order="asc")) == theirs
        for file in theirs:
            assert client.files.content(file.id).content == there.files.content(file.id).content
    assert running.id not in {job.id for job in client.fine_tuning.jobs.list()}


def test_an_account_is_copied_once_and_a_second_time_nothing(
    run: Any, services: Services, account: StubAccount, client: openai.OpenAI, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    out = capsys.readouterr().out
    assert "files: 3 copied" in out
    assert "jobs: 2 copied" in out
    assert "stored completions: not offered there" in out
    assert client.files.content("file-result").content == CSV
    assert client.files.content("file-train").content == TRAINING
    job = client.fine_tuning.jobs.retrieve("ftjob-1")
    assert (job.model, job.fine_tuned_model, job.organization_id) == (
        "gpt-4o-mini-2024-07-18",
        FT_NAME,
        "org-theirs",
    )
    assert [event.message for event in client.fine_tuning.jobs.list_events("ftjob-1")] == [
        "event 3",
        "event 2",
        "event 1",
    ]
    assert [job.id for job in client.fine_tuning.jobs.list()] == ["ftjob-2", "ftjob-1"]

    before = account.asked["/files/file-train/content"]
    assert run() == 0
    assert "files: 0 copied, 3 were here" in capsys.readouterr().out
    assert account.asked["/files/file-train/content"] == before == 1
    assert rows(services) == (["file-c", "file-result", "file-train"], ["ftjob-1", "ftjob-2"])


@pytest.mark.parametrize("job_id", ["ftjob-1", "ftjob-2"])
@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_an_imported_job_is_history(run: Any, client: openai.OpenAI, job_id: str, verb: str) -> None:
    run()
    before = client.fine_tuning.jobs.retrieve(job_id)
    with pytest.raises(openai.BadRequestError, match=f"Cannot {verb} a job"):
        getattr(client.fine_tuning.jobs, verb)(job_id)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=FT_NAME, messages=[{"role": "user", "content": "a"}])
    assert FT_NAME not in {model.id for model in client.models.list()}
    assert client.fine_tuning.jobs.retrieve(job_id) == before


def test_jobs_of_other_methods_and_with_errors_are_shown_as_they_were(
    run: Any, account: StubAccount, client: openai.OpenAI
) -> None:
    method = {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 3, "beta": 0.1}}}
    error = {"code": "invalid_training_file", "message": "Too short.", "param": "training_file"}
    dpo = told_job("ftjob-3", status="failed", method=method, hyperparameters=None, error=error)
    account.lists["/fine_tuning/jobs"].insert(0, dpo)
    account.lists |= {"/fine_tuning/jobs/ftjob-3/events": [], "/fine_tuning/jobs/ftjob-3/checkpoints": []}
    run()
    job = client.fine_tuning.jobs.retrieve("ftjob-3")
    assert job.method is not None
    assert job.method.to_dict() == method
    assert job.error is not None
    assert job.error.to_dict() == error


def test_files_that_are_not_given_out_are_named_and_no_failure(
    run: Any, account: StubAccount, services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    account.refusals["/files/file-c/content"] = Fault(400, message="Not allowed to download files of purpose: vision")
    assert run() == 0
    assert "Not allowed to download files of purpose: vision: file-c" in capsys.readouterr().out
    (archive,) = services.settings.imports.glob("*/files_left_behind.jsonl")
    assert [json.loads(line)["id"] for line in archive.read_text().splitlines()] == ["file-c"]


def test_passing_faults_are_sat_out(run: Any, account: StubAccount, client: openai.OpenAI) -> None:
    soon = {"retry-after-ms": "1"}
    account.faults["/files"] = [Fault(429, soon, "slow down"), Fault(500, soon)]
    account.faults["/files/file-train/content"] = [Fault(503, soon), Fault(cut_at=100)]
    account.faults["/fine_tuning/jobs/ftjob-1/events"] = [Fault(), Fault(cut_at=0)]
    assert run() == 0
    assert client.files.content("file-train").content == TRAINING
    assert len(list(client.fine_tuning.jobs.list_events("ftjob-1"))) == 3


def test_a_redirect_is_not_followed_with_the_key(
    run: Any, account: StubAccount, capsys: pytest.CaptureFixture[str]
) -> None:
    account.refusals["/files"] = Fault(302, {"location": f"{account.url}/elsewhere"})
    assert run() == 1
    assert account.asked["/elsewhere"] == 0


def test_a_wrong_key_ends_the_import_and_is_not_shown(
    run: Any, account: StubAccount, capsys: pytest.CaptureFixture[str]
) -> None:
    account.refusals["/files"] = Fault(401, message=f"Incorrect API key provided: {KEY}.")
    assert run() == 1
    printed = capsys.readouterr()
    assert "does not know the key in OPENAI_API_KEY" in printed.err
    assert KEY not in printed.out + printed.err


def test_the_key_is_sent_and_neither_it_nor_contents_are_printed_or_stored(
    run: Any,
    account: StubAccount,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj_1")
    account.refusals["/files/file-c/content"] = Fault(403, message=f"no, {KEY}")
    run()
    assert {
        (told["authorization"], told["openai-organization"], told["openai-project"]) for told in account.headers
    } == {(f"Bearer {KEY}", "org-1", "proj_1")}
    printed = capfd.readouterr()
    assert KEY not in printed.out + printed.err
    assert "a secret" not in printed.out + printed.err
    kept = [path for path in services.settings.home.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert kept == []


def test_stored_completions_and_evals_are_archived(
    run: Any, account: StubAccount, client: openai.OpenAI, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The completions are stored, too."""
    told = [told_completion(f"chatcmpl-{n}") for n in range(3)]
    account.lists |= {
        "/chat/completions": told,
        **{f"/chat/completions/{one['id']}/messages": told_messages(one["id"]) for one in told},
        "/evals": [{"id": "eval_1", "name": "e"}],
        "/evals/eval_1/runs": [{"id": "run_1", "eval_id": "eval_1", "status": "completed"}],
        "/evals/eval_1/runs/run_1/output_items": [{"id": f"item_{n}", "status": "pass"} for n in range(5)],
    }
    archives = tmp_path / "archives"
    for expected in ("eval results: 5 archived", "eval runs: 0 archived, 1 were here"):
        assert run("--archive", str(archives)) == 0
        assert expected in capsys.readouterr().out
    assert [one.id for one in client.chat.completions.list()] == [one["id"] for one in told]

    def lines(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (archives / f"{name}.jsonl").read_text().splitlines()]

    assert [(line["id"], line["messages"][0]["id"]) for line in lines("stored_completions")] == [
        (f"chatcmpl-{n}", f"chatcmpl-{n}-0") for n in range(3)
    ]
    assert [line["name"] for line in lines("evals")] == ["e"]
    assert [line["id"] for line in lines("eval_runs")] == ["run_1"]
    assert [(line["run_id"], line["id"]) for line in lines("eval_results")] == [
        ("run_1", f"item_{n}") for n in range(5)
    ]


def test_ids_of_another_project_are_left_alone(run: Any, services: Services, client: openai.OpenAI) -> None:
    create_key(services.database, "theirs")
    assert run("--project", "theirs") == 0
    assert run() == 1  # every file and job is there, and said to be another project's
    assert list(client.files.list()) == list(client.fine_tuning.jobs.list()) == []


def test_a_project_that_is_not_there_is_not_made(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--project", "mistyped") == 1
    assert "there is no project mistyped" in capsys.readouterr().err


def test_two_imports_into_a_project_do_not_meet(
    run: Any, services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    with import_lock(services.settings.imports / services.authenticator.default.project_id):
        assert run() == 1
    assert "another import into this project is running" in capsys.readouterr().err


def _a_job_that_succeeded(services: Services, project_id: ProjectId) -> JobRow:
    result = make_file(services, project_id, CSV, purpose=FilePurpose.FINE_TUNE_RESULTS)
    job = make_job(
        services,
        project_id,
        status=JobStatus.SUCCEEDED,
        fine_tuned_model=f"ft:tunesmith-demo:personal::{result.id[-8:]}",
        result_file=result.id,
        hyperparameters={"n_epochs": 2, "batch_size": 5, "learning_rate_multiplier": 1.0},
        finished_at=1_800_000_000,
        trained_tokens=40,
        job_metadata={"team": "blue"},
    )
    make_checkpoint(services, job, 4, train_loss=0.5)
    return job


def _listed(client: openai.OpenAI, name: str, job_id: str) -> list[Any]:
    jobs = client.fine_tuning.jobs
    return list(jobs.list_events(job_id) if name == "list_events" else jobs.checkpoints.list(job_id))
