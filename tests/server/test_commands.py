"""The command `tunesmith`, against a home of its own."""

import errno
import io
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from threading import Thread
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from server.__main__ import main
from server.auth.api_keys import DEFAULT_PROJECT, find_caller
from server.bootstrap import Services, build_services
from server.commands.failures import explain
from server.commands.logs import newest_log, print_logs
from server.commands.progress import Progress, advance, outcome, render
from server.commands.watching import Screen, watch
from server.db.project_session import project_session
from server.db.tables import JobEventRow, JobRow, WebhookDeliveryRow
from server.fine_tuning.job_changes import add_event
from server.fine_tuning.lifecycle import NewEvent
from server.fine_tuning.repository import find_job, list_events
from server.ids import ProjectId
from server.placement.facts import EngineState, Why
from server.placement.repository import Demand, placing, report_demand, write_engine
from server.placement.standing import Standing
from server.settings import load_settings
from server.vocabulary import DeliveryStatus, EventLevel, EventType, JobStatus, WebhookEventType
from tests.factories import make_job, make_webhook_endpoint
from tests.running_api import make_settings

NOW = 1_800_000_000.0


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = build_services(make_settings(tmp_path))
    yield services
    services.database.dispose()


@pytest.fixture
def project_id(services: Services) -> ProjectId:
    return services.authenticator.default.project_id


def test_engines_are_shown_with_what_they_took_and_why_they_are_away(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    with placing(services.database, write=True) as session:
        write_engine(session, "a", Standing(EngineState.READY, NOW, start_s=31.42))
        write_engine(session, "b", Standing(EngineState.STOPPED, NOW, Why.GAVE_WAY, detail="for a"))
        report_demand(session, "api-1", [Demand("a", NOW, 0, 0.0, 2)], time.time())
    said = {
        "a": {
            "ready": True,
            "adapters": [
                {"name": "ft:x", "sha256": "sha256:" + "ab" * 32, "load_s": 0.25, "proof": "golden", "pins": 1}
            ],
            "rejected": [{"name": "ft:y", "at": NOW, "reason": "wrong shapes"}],
        },
        "b": {"ready": False},
    }
    with answering_door(services.settings.control_socket, said):
        assert run(services, "engines") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]

    assert lines[1][:2] + lines[1][4:5] + lines[1][-3:] == ["a", "ready", "31.4", "0", "2", "0"]
    assert lines[2][:5] == ["b", "stopped:", "made", "way", "for"]
    assert ["b:", "for", "a"] in lines
    assert ["a", "ft:x", "sha256:" + "ab" * 6, "-", "0.2", "-", "golden", "1"] in lines
    assert next(words for words in lines if "ft:y" in words)[-2:] == ["wrong", "shapes"]


def test_engines_of_a_service_that_does_not_run_do_not_run(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    with placing(services.database, write=True) as session:
        write_engine(session, "a", Standing(EngineState.READY, NOW))
    assert run(services, "engines") == 0
    assert "not running" in capsys.readouterr().out


@contextmanager
def answering_door(socket: Path, answer: object) -> Iterator[None]:
    """What the API process answers at its private door."""

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            return

    socket.parent.mkdir(parents=True, exist_ok=True)
    with UnixStreamServer(str(socket), Door) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()


def run(services: Services, *words: str) -> int:
    return main([*words, "--home", str(services.settings.home)])


def test_projects_are_listed_with_what_they_have(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(services, "keys", "create", "--project", "Blue Team") == 0
    capsys.readouterr()
    assert run(services, "projects", "list") == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["Blue", "default"]
    assert all(line.split()[0].startswith("proj_") for line in lines[1:])
    assert "set" not in lines[2].split()


def test_a_projects_wandb_key_is_read_from_the_input_and_never_shown(
    services: Services, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("the secret\n"))
    assert run(services, "projects", "wandb-key", "default") == 0
    assert run(services, "projects", "list") == 0
    printed = capsys.readouterr()
    assert "the secret" not in printed.out + printed.err
    assert printed.out.splitlines()[-1].endswith("set")

    assert run(services, "projects", "wandb-key", "default", "--remove") == 0
    assert run(services, "projects", "list") == 0
    assert not capsys.readouterr().out.splitlines()[-1].endswith("set")


@pytest.mark.parametrize(
    ("words", "typed", "complaint"),
    [
        (("wandb-key", "default"), "", "no key came in"),
        (("wandb-key", "default"), "k\x00y\n", "no key came in"),
        (("wandb-key", "nobody"), "key\n", "there is no project nobody"),
    ],
)
def test_a_wandb_key_that_cannot_be_set_is_one_line_on_stderr(
    words: tuple[str, ...],
    typed: str,
    complaint: str,
    services: Services,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert run(services, "projects", *words) == 1
    assert complaint in capsys.readouterr().err


def test_a_created_key_is_all_there_is_on_stdout_and_opens_its_project(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(services, "keys", "create", "--project", "Blue Team", "--admin") == 0

    printed = capsys.readouterr()
    key = printed.out.rstrip("\n")
    caller = find_caller(services.database, key.encode())
    assert caller is not None
    assert (caller.slug, caller.is_admin) == ("blue-team", True)
    assert "Blue Team" in printed.err
    assert key not in printed.err


def test_a_key_is_of_the_default_project_and_no_admins_unless_asked(
    services: Services, project_id: ProjectId, capsys: pytest.CaptureFixture[str]
) -> None:
    run(services, "keys", "create")

    caller = find_caller(services.database, capsys.readouterr().out.strip().encode())
    assert caller is not None
    assert (caller.project_id, caller.is_admin) == (project_id, False)


def test_keys_are_listed_by_their_ends_and_revoked_at_once(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    run(services, "keys", "create")
    key = capsys.readouterr().out.strip()
    run(services, "keys", "list")
    head, row = capsys.readouterr().out.splitlines()

    assert head.split() == ["ID", "PROJECT", "RIGHTS", "KEY", "CREATED", "STATE"]
    assert key not in row
    assert key[-4:] in row
    assert row.split()[1] == DEFAULT_PROJECT
    assert row.endswith("valid")

    assert run(services, "keys", "revoke", row.split()[0]) == 0
    assert find_caller(services.database, key.encode()) is None
    capsys.readouterr()
    run(services, "keys", "list")
    assert "revoked" in capsys.readouterr().out


def test_jobs_of_every_project_are_listed_newest_first(
    services: Services, project_id: ProjectId, capsys: pytest.CaptureFixture[str]
) -> None:
    old = make_job(services, project_id, status=JobStatus.FAILED, error_code="loss_not_finite")
    new = make_job(services, project_id, status=JobStatus.RUNNING, last_step=3, total_steps=9)

    assert run(services, "jobs", "list") == 0

    _, first, second = capsys.readouterr().out.splitlines()
    assert first.split()[:4] == [new.id, DEFAULT_PROJECT, "running", "3/9"]
    assert second.split()[:4] == [old.id, DEFAULT_PROJECT, "failed", "-"]
    assert second.endswith("loss_not_finite")


def test_deliveries_of_webhooks_are_listed_with_what_came_of_them(
    services: Services, project_id: ProjectId, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = make_webhook_endpoint(services, project_id)
    event = {"project_id": project_id, "endpoint_id": endpoint.id, "event_id": "evt_1", "created_at": 0}
    refused, silent = ({"outcome": outcome, "status_code": code} for outcome, code in (("answered", 500), (None, None)))
    with project_session(services.database, project_id, write=True) as session:
        for name, status, tries in (("wh_a", "failed", [silent, refused]), ("wh_b", "pending", [])):
            job_failed = {"event_type": WebhookEventType.JOB_FAILED, "object_id": "ftjob-1"}
            state = {"status": DeliveryStatus(status), "tries": tries, "n_tries": len(tries), "due_at": None}
            session.add(WebhookDeliveryRow(id=name, **event, **job_failed, **state))
            session.flush()

    assert run(services, "webhooks", "log") == 0
    newest, oldest = (line.split() for line in capsys.readouterr().out.splitlines()[1:])
    assert run(services, "webhooks", "log", "--status", "pending") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["wh_b"]
    assert newest[0] == "wh_b"
    assert oldest[:5] == ["wh_a", "default", endpoint.id, "fine_tuning.job.failed", "ftjob-1"]
    assert oldest[-4:] == ["failed", "2", "500", "-"]


def test_cancelling_does_what_a_clients_cancel_does(services: Services, project_id: ProjectId) -> None:
    job = make_job(services, project_id, status=JobStatus.RUNNING, estimated_finish=1)

    assert run(services, "jobs", "cancel", job.id) == 0

    with project_session(services.database, project_id) as session:
        cancelled = find_job(session, job.id)
        newest = list_events(session, job.id, before_seq=None, limit=1)[0]
    assert cancelled is not None
    assert cancelled.status is JobStatus.CANCELLED
    assert cancelled.finished_at is not None
    assert cancelled.estimated_finish is None
    assert newest.message == "The job was cancelled"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("jobs", "cancel", "ftjob-none"), "there is no job ftjob-none"),
        (("jobs", "watch", "ftjob-none"), "there is no job ftjob-none"),
        (("jobs", "logs", "ftjob-none", "--follow"), "there is no job ftjob-none"),
        (("keys", "revoke", "key_none"), "there is no key key_none"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    words: tuple[str, ...], said: str, services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(services, *words) == 1
    assert_one_line(capsys, said)


def test_a_job_that_has_ended_is_not_cancelled(
    services: Services, project_id: ProjectId, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job(services, project_id, status=JobStatus.SUCCEEDED)

    assert run(services, "jobs", "cancel", job.id) == 1
    assert_one_line(capsys, 'already has status "succeeded"')


def test_a_home_without_a_database_is_named_and_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "mistyped"

    assert main(["keys", "create", "--home", str(home)]) == 1
    assert_one_line(capsys, f"there is no Tunesmith database in {home}")
    assert not home.exists()


def test_a_home_that_is_a_file_is_an_error_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "file"
    home.touch()

    assert main(["jobs", "list", "--home", str(home)]) == 1
    assert_one_line(capsys, str(home))


def test_a_file_that_is_no_database_is_an_error_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tunesmith.db").write_bytes(b"nothing of the kind" * 100)

    assert main(["jobs", "list", "--home", str(tmp_path)]) == 1
    assert_one_line(capsys, "is not a Tunesmith database")


def test_a_database_of_a_later_version_is_an_error_in_one_line(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(services.settings.database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    assert run(services, "keys", "list") == 1
    assert_one_line(capsys, "later version of Tunesmith")


def test_a_full_disk_is_named(services: Services) -> None:
    with services.database.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        with pytest.raises(DBAPIError) as full:
            connection.exec_driver_sql("CREATE TABLE more AS SELECT randomblob(100000)")
        connection.invalidate()

    said = explain(full.value, services.settings)
    assert said is not None
    assert "no space is left" in said
    assert str(services.settings.home) in said
    assert "no space is left on the disk of /x" in str(explain(OSError(errno.ENOSPC, "full", "/x"), services.settings))


def test_a_busy_port_is_named(services: Services) -> None:
    said = explain(OSError(errno.EADDRINUSE, "in use"), replace(services.settings, port=81))

    assert said == "port 81 of 127.0.0.1 is in use by another program; name another with --port"


def test_a_fault_of_ours_keeps_its_traceback(services: Services) -> None:
    with services.database.connect() as connection, pytest.raises(DBAPIError) as wrong:
        connection.exec_driver_sql("SELECT nothing")

    assert explain(wrong.value, services.settings) is None


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TUNESMITH_PORT", "eighty", "expected a number, got 'eighty'"),
        ("TUNESMITH_PORT", "65536", "must be between 0 and 65535"),
        ("TUNESMITH_MAX_LORAS", "0", "must be at least 1"),
        ("TUNESMITH_STOP_GRACE_S", "nan", "must be seconds, 0 or more"),
        ("TUNESMITH_LOG_LEVEL", "loud", "must be debug, info, warning or error"),
        ("TUNESMITH_PII_POLICY", "keep", "must be off, warn, block or redact"),
        ("TUNESMITH_ENGINE_GPU_SHARE", "1", "must be between 0.05 and 0.95"),
        ("TUNESMITH_WEBHOOK_MAX_ENDPOINTS", "-1", "must be 0 or more"),
        ("TUNESMITH_WEBHOOK_TIMEOUT_S", "0", "must be seconds, more than 0 and at most 60"),
        ("TUNESMITH_WEBHOOK_ALLOW_HTTP", "maybe", "expected true or false"),
        ("TUNESMITH_MAX_LORA_RANK", "17", "the engine takes 1, 8, 16"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    variable: str,
    value: str,
    said: str,
    services: Services,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, value)

    assert run(services, "keys", "list") == 2
    assert_one_line(capsys, f"{variable}: {said}")


def test_settings_are_read_as_what_they_are_and_the_command_line_wins() -> None:
    environment = {
        "TUNESMITH_HOME": "/a",
        "TUNESMITH_PORT": "81",
        "TUNESMITH_STOP_GRACE_S": "0.5",
        "TUNESMITH_API_KEY": "7",
        "TUNESMITH_HOST": "",
    }
    settings = load_settings(environment, home=Path("/b"), host=None)

    assert (settings.home, settings.port, settings.stop_grace_s) == (Path("/b"), 81, 0.5)
    assert (settings.api_key, settings.host) == ("7", "127.0.0.1")
    assert load_settings(environment).home == Path("/a")
    assert load_settings(settings.environment()) == settings


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("jobs",),
        ("jobs", "watch"),
        ("serve", "--port", "70000"),
        ("serve", "--port", "-1"),
        ("serve", "--host", ""),
        ("keys", "create", "--project", " "),
        ("keys", "create", "--project", "a\nb"),
        ("keys", "list", "--home", ""),
    ],
)
def test_what_cannot_be_understood_ends_with_code_2(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)

    assert ended.value.code == 2


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_come_without_the_server(option: str) -> None:
    script = (
        "import sys\nfrom server.__main__ import main\n"
        f"try: main([{option!r}])\nexcept SystemExit as end: assert end.code == 0\n"
        "assert not {'sqlmodel', 'pydantic', 'fastapi'} & set(sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(("usage: tunesmith", "tunesmith "))
    assert "worker" not in ran.stdout


def test_the_processes_of_the_service_are_not_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])

    shown = capsys.readouterr().out
    assert "serve" in shown
    assert "worker" not in shown


def test_watching_shows_messages_and_losses_until_the_job_ends(services: Services, project_id: ProjectId) -> None:
    job = make_job(services, project_id, status=JobStatus.RUNNING, total_steps=2)
    out = io.StringIO()
    steps = iter([step(1, train_loss=2.0), step(2, train_loss=1.0, full_valid_loss=1.5)])

    def work() -> None:
        event = next(steps, None)
        with project_session(services.database, project_id, write=True) as session:
            current = session.get_one(JobRow, job.id)
            if event is None:
                current.status, current.fine_tuned_model = JobStatus.SUCCEEDED, "ft:x"
                event = NewEvent("Done")
            else:
                current.last_step = event.data["step"]
            add_event(session, current, event, now=NOW)

    assert watch(services.database, job.id, out, pause=work) is JobStatus.SUCCEEDED
    assert out.getvalue().splitlines() == [
        f"Created fine-tuning job: {job.id}",
        "[######......] 1/2  train loss 2.0000",
        "[############] 2/2  train loss 1.0000  valid loss 1.5000",
        "Done",
        "succeeded  [############] 2/2  train loss 1.0000  valid loss 1.5000",
        f"{job.id} succeeded: ft:x",
    ]


@pytest.mark.parametrize(
    ("status", "code"), [(JobStatus.SUCCEEDED, 0), (JobStatus.FAILED, 1), (JobStatus.CANCELLED, 1)]
)
def test_watching_succeeds_if_the_job_did(
    status: JobStatus, code: int, services: Services, project_id: ProjectId
) -> None:
    job = make_job(services, project_id, status=status)

    assert run(services, "jobs", "watch", job.id) == code


def test_the_line_of_a_job_says_what_is_known() -> None:
    job = bare_job(JobStatus.RUNNING, last_step=5, total_steps=10, estimated_finish=int(NOW))
    events = [metrics(step=4, train_loss=0.5, valid_loss=0.75), metrics(step=5, train_loss=0.25)]

    line = render(advance(Progress(), job, events), now=NOW)

    assert line == (
        "[######......] 5/10  train loss 0.2500  valid loss 0.7500  "
        f"ends {time.strftime('%H:%M:%S', time.localtime(NOW))}"
    )
    assert render(Progress(), now=NOW) == "validating_files"
    tomorrow = int(NOW) + 24 * 3600
    assert render(Progress(JobStatus.RUNNING, estimated_finish=tomorrow), now=NOW) == (
        f"ends {time.strftime('%Y-%m-%d %H:%M', time.localtime(tomorrow))}"
    )


def test_the_outcome_of_a_failed_job_has_its_reason() -> None:
    job = bare_job(JobStatus.FAILED, error_code="out_of_memory", error_message="Too big.")

    assert outcome(job) == "ftjob-x failed: out_of_memory: Too big."
    assert outcome(bare_job(JobStatus.CANCELLED)) == "ftjob-x is cancelled"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_line_changes_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "11")
    out = Terminal()
    screen = Screen(out)

    screen.show("one")
    screen.show("far too long a line")
    screen.say("a message")
    screen.keep()
    screen.say("the end")

    blank, shown = " " * 10, "\rfar too lo"
    assert out.getvalue() == f"\rone       {shown}\r{blank}\ra message\n{shown}\nthe end\n"


def test_elsewhere_a_line_is_printed_when_it_changes() -> None:
    out = io.StringIO()
    screen = Screen(out)

    for line in ("one", "one", "two"):
        screen.show(line)

    assert out.getvalue() == "one\ntwo\n"


def test_the_log_is_the_newest_attempts(
    services: Services, project_id: ProjectId, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    job = make_job(services, project_id)
    for attempt in ("check", "2", "10"):
        write_log(services, job, attempt, f"log of {attempt} \xff\n".encode("latin-1"))
    (services.settings.runs / job.id / "11").mkdir()

    assert run(services, "jobs", "logs", job.id) == 0
    assert capsysbinary.readouterr().out == b"log of 10 \xff\n"


def test_before_the_first_attempt_the_log_is_the_checks(services: Services, project_id: ProjectId) -> None:
    job = make_job(services, project_id)
    write_log(services, job, "check", b"tokenised\n")

    log = newest_log(services.settings.runs / job.id)

    assert log is not None
    assert log.parent.name == "check"


def test_a_job_without_a_log_says_so(
    services: Services, project_id: ProjectId, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job(services, project_id)

    assert run(services, "jobs", "logs", job.id) == 1
    assert_one_line(capsys, f"the job {job.id} has no log")


def test_following_goes_on_over_attempts_to_the_end_of_the_job(
    services: Services, project_id: ProjectId, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    job = make_job(services, project_id, status=JobStatus.RUNNING)
    acts = iter([("check", b"checked\n"), ("1", b"one\n"), ("1", b"more\n"), ("2", b"two\n"), None])

    def work() -> None:
        act = next(acts)
        if act is None:
            write_log(services, job, "2", b"last words\n")
            with project_session(services.database, project_id, write=True) as session:
                session.get_one(JobRow, job.id).status = JobStatus.FAILED
        else:
            write_log(services, job, *act)

    print_logs(services.database, services.settings.runs / job.id, job.id, follow=True, pause=work)

    assert capsysbinary.readouterr().out == b"checked\none\nmore\ntwo\nlast words\n"


def test_a_reader_that_has_enough_is_no_error(services: Services, project_id: ProjectId) -> None:
    job = make_job(services, project_id)
    write_log(services, job, "1", b"a line\n" * 100_000)
    command = [sys.executable, "-m", "server", "jobs", "logs", job.id, "--home", str(services.settings.home)]

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"a line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 1


def step(number: int, **losses: float) -> NewEvent:
    return NewEvent(f"Step {number}", type=EventType.METRICS, data={"step": number, **losses})


def bare_job(status: JobStatus, **columns: Any) -> JobRow:
    """Of no database."""
    return JobRow(
        id="ftjob-x",
        project_id="proj_x",
        created_at=int(NOW),
        status=status,
        requested_model="tunesmith-demo",
        base_model="tunesmith-demo",
        training_file="file-x",
        seed=1,
        method="supervised",
        requested_hyperparameters={},
        **columns,
    )


def metrics(**data: float) -> JobEventRow:
    return JobEventRow(
        id="ftevent-x",
        project_id="proj_x",
        job_id="ftjob-x",
        created_at=int(NOW),
        level=EventLevel.INFO,
        type=EventType.METRICS,
        message="",
        data=data,
    )


def write_log(services: Services, job: JobRow, attempt: str, content: bytes) -> None:
    directory = services.settings.runs / job.id / attempt
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "trainer.log").open("ab") as log:
        log.write(content)


def assert_one_line(capsys: pytest.CaptureFixture[str], said: str) -> None:
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("tunesmith: ")
    assert printed.err.count("\n") == 1
    assert said in printed.err
