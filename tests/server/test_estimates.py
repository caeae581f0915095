"""POST /v1/fine_tuning/estimate: a job's figures, without the job."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import col, select

from inference.fake_engine import FakeEngine
from server.auth.api_keys import create_key
from server.bootstrap import build_services
from server.db.system_session import system_session
from server.db.tables import JobReportRow, JobRow
from server.errors import Busy, InvalidRequest
from server.fine_tuning.dry_runs.estimating import EstimateDesk, Question, delete_leftovers
from server.fine_tuning.dry_runs.sampling import Portion
from server.fine_tuning.estimates.layers import lora_parameters
from server.launchers.in_memory import InMemoryLauncher
from server.launchers.launcher import Exited, LaunchRequest, Lost, RunHandle, Running, RunState
from server.storage.blob_store import BlobKey
from server.tidying_up import tidy_up
from server.vocabulary import FilePurpose
from tests.factories import EXAMPLE, make_file, make_model
from tests.job_rig import TEN_STEPS, TWO_STEPS, MakeRig, playing
from tests.played_runs import PlayedRun, PlayedTrainer, failing_report, report_of
from tests.running_api import Api, make_settings, serving
from trainer.contract.events import FailureCode
from trainer.contract.report import CheckFailure, CheckReport, Finding, Severity
from trainer.contract.run_directory import RunDirectory
from trainer.contract.shape import ModelShape

PATH = "/v1/fine_tuning/estimate"
DEMO = ModelShape(hidden=256, intermediate=768, layers=4, heads=4, kv_heads=2, head_dim=64, vocabulary=2048, tied=True)


def known_shape(directory: RunDirectory) -> CheckReport:
    return report_of(directory).model_copy(update={"base_parameters": 3_700_000, "base_shape": DEMO})


class Checks:
    """What the trainer is played to say; `hold` keeps it from saying anything."""

    def __init__(self) -> None:
        self.trainer = PlayedTrainer(check=known_shape)
        self.hold: threading.Event | None = None
        self.waiting = threading.Semaphore(0)
        self.dies = False
        self.directories: list[Path] = []

    def __call__(self, request: LaunchRequest) -> Exited | Lost:
        self.directories.append(request.run_directory)
        if self.hold is not None:
            self.waiting.release()
            assert self.hold.wait(30)
        return Exited(9) if self.dies else self.trainer(request)


@pytest.fixture(scope="module")
def checks() -> Checks:
    return Checks()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, checks: Checks) -> Iterator[Api]:
    """An API whose trainer is played, and whose operator has a price."""
    settings = make_settings(tmp_path_factory.mktemp("home"), price_per_million_tokens=0.5, trainer_memory_gib=4.0)
    services = replace(
        build_services(settings, {"tunesmith-demo": FakeEngine("tunesmith-demo", reads_files=False)}),
        launcher=InMemoryLauncher(checks),
    )
    mine, theirs = (create_key(services.database, name).plaintext for name in ("mine", "theirs"))
    project_id = services.authenticator.authenticate([(b"authorization", b"Bearer " + mine.encode())]).project_id
    with serving(services) as url:
        yield Api(url, services, services.engines["tunesmith-demo"], mine, theirs, project_id)  # type: ignore[arg-type]
    services.database.dispose()


@pytest.fixture
def ask(desk: Api) -> Iterator[Any]:
    with desk.http() as http:

        def ask(**body: Any) -> httpx.Response:
            return http.post(PATH, json={"model": "tunesmith-demo", **body})

        yield ask


def test_an_estimate_says_what_the_job_would_come_to(desk: Api, ask: Any) -> None:
    file = make_file(desk.services, desk.project_id)
    answer = ask(training_file=file.id, validation_file=file.id, seed=3, suffix="x")

    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["object"] == "fine_tuning.estimate"
    assert body["sampled"] is False
    assert body["training"] == {
        "examples": 10,
        "tokens": 200,
        "trained_tokens": 50,
        "longest_tokens": 20,
        "truncated_examples": 0,
        "dropped_examples": 0,
        "rows_looked_at": None,
    }
    assert body["validation"] == body["training"]
    resolved = body["method"]["supervised"]["hyperparameters"]
    assert 1e-3 < resolved.pop("learning_rate") < 5e-3
    assert body["method"] == {"type": "supervised", "supervised": {"hyperparameters": resolved}}
    assert resolved == {
        "n_epochs": 10,
        "batch_size": 1,
        "learning_rate_multiplier": 1.0,
        "warmup_ratio": 0.05,
        "lr_scheduler": "cosine",
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "max_seq_length": 20,
        "packing": False,
        "validation_interval": 5,
        "optimizer": "adamw",
        "quantization": "none",
        "adapter": {
            "type": "lora",
            "rank": 16,
            "alpha": 32,
            "dropout": 0.0,
            "target_modules": "all-linear",
            "use_rslora": False,
        },
    }
    assert (body["total_steps"], body["trained_tokens"]) == (100, 2000)
    assert (body["base_parameters"], body["trainable_parameters"], body["adapter_bytes"]) == (
        3_700_000,
        4 * 16 * (512 + 2 * 384 + 512 + 3 * 1024),
        4 * 4 * 16 * (512 + 2 * 384 + 512 + 3 * 1024),
    )
    assert (body["fits"], body["advice"]) == (True, None)
    assert body["plan"] == {
        "micro_batch_tokens": 4096,
        "micro_batches_per_step": 1,
        "gradient_checkpointing": False,
        "quantization": None,
    }
    memory = body["memory"]
    parts = ("weights", "adapter", "gradients", "optimizer", "activations", "head", "reserve")
    assert memory["peak_bytes"] == sum(memory[f"{part}_bytes"] for part in parts)
    assert memory["peak_bytes"] < memory["needed_bytes"] < memory["available_bytes"] == 4 * 1024**3
    assert body["time"]["speed"] == "guessed"
    assert body["cost"]["amount"] == 0.001
    assert body["cost"]["hosted"]
    assert (body["data_gate"]["pii"], body["data_gate"]["training"]["format"]) == ("warn", "chat")


def test_what_is_asked_is_kept_and_a_job_is_not_made(desk: Api, ask: Any) -> None:
    file = make_file(desk.services, desk.project_id)
    asked = {"n_epochs": 3, "batch_size": 5, "learning_rate_multiplier": 2.0}
    body = ask(training_file=file.id, method={"type": "supervised", "supervised": {"hyperparameters": asked}}).json()
    assert asked.items() <= body["method"]["supervised"]["hyperparameters"].items()
    assert body["total_steps"] == 6
    with system_session(desk.database) as session:
        assert not session.exec(select(JobRow).where(JobRow.training_file == file.id)).all()


def test_asking_twice_gives_the_same_and_leaves_nothing(desk: Api, ask: Any, checks: Checks) -> None:
    file = make_file(desk.services, desk.project_id)
    assert ask(training_file=file.id).json() == ask(training_file=file.id).json()
    assert not list(desk.services.settings.estimates.iterdir())
    assert not any(directory.exists() for directory in checks.directories)


def test_a_fine_tuned_model_brings_its_adapters_rank(desk: Api, ask: Any) -> None:
    model = make_model(desk.services, desk.project_id)
    config = desk.services.settings.adapters / model.directory / "adapter_config.json"
    config.write_text(json.dumps({"r": 8, "lora_alpha": 16}))
    file = make_file(desk.services, desk.project_id)
    whole = ask(training_file=file.id).json()["trainable_parameters"]
    assert ask(training_file=file.id, model=model.name).json()["trainable_parameters"] == whole // 2


def test_a_fine_tuned_model_whose_files_are_gone_is_not_available(desk: Api, ask: Any) -> None:
    model = make_model(desk.services, desk.project_id)
    refused = ask(training_file=make_file(desk.services, desk.project_id).id, model=model.name)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "model_not_available")


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "training_file", "missing_required_parameter"),
        ({"training_file": 3}, "training_file", "invalid_type"),
        ({"training_file": "file-x"}, "training_file", None),
        ({"training_file": "FILE", "validation_file": "file-x"}, "validation_file", None),
        ({"training_file": "FILE", "model": "gpt-9"}, "model", "model_not_available"),
        ({"training_file": "FILE", "more": 1}, "more", "unknown_parameter"),
        ({"training_file": "FILE", "method": {"type": "reinforcement"}}, "method.type", "unsupported_value"),
        ({"training_file": "FILE", "hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs", None),
    ],
)
def test_what_no_job_can_be_made_of_is_refused_in_the_same_words(
    desk: Api, ask: Any, body: dict[str, Any], param: str, code: str | None
) -> None:
    file = make_file(desk.services, desk.project_id)
    body = {name: file.id if value == "FILE" else value for name, value in body.items()}
    refused = ask(**body)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param
    assert code is None or refused.json()["error"]["code"] == code
    with desk.http() as http:
        assert http.post("/v1/fine_tuning/jobs", json={"model": "tunesmith-demo", **body}).json() == refused.json()


def test_a_file_of_another_project_is_unknown(desk: Api) -> None:
    file = make_file(desk.services, desk.project_id)
    with desk.http(desk.foreign_key) as stranger:
        answers = [
            stranger.post(PATH, json={"model": "tunesmith-demo", "training_file": name}).text.replace(name, "ID")
            for name in (file.id, "file-AAAAAAAAAAAAAAAAAAAAAA")
        ]
    assert answers[0] == answers[1]
    assert "invalid training_file: ID" in answers[0]


def test_a_file_of_another_purpose_is_refused(desk: Api, ask: Any) -> None:
    file = make_file(desk.services, desk.project_id, purpose=FilePurpose.BATCH)
    assert "but 'fine-tune' is needed" in ask(training_file=file.id).json()["error"]["message"]


BAD_LINE = b'{"messages": [{"role": "user", "content": "zebra"}]}\n'
GOOD_LINE = json.dumps(EXAMPLE).encode() + b"\n"
BAD_FILES = [GOOD_LINE * 9 + BAD_LINE, b"[]\n", b"\n"]


@pytest.mark.parametrize(
    ("param", "content"),
    [
        *[(param, content) for param in ("training_file", "validation_file") for content in BAD_FILES],
        ("training_file", GOOD_LINE * 3),
    ],
)
def test_a_file_with_an_error_is_refused_with_the_message_its_job_would_fail_with(
    desk: Api, ask: Any, make_rig: MakeRig, param: str, content: bytes
) -> None:
    bad, good = make_file(desk.services, desk.project_id, content), make_file(desk.services, desk.project_id)
    files = {"training_file": good.id, param: bad.id}
    refused = ask(**files)
    assert refused.status_code == 400
    error = refused.json()["error"]

    rig = make_rig()
    rows = {name: make_file(rig.services, rig.project_id, content if name == param else None).id for name in files}
    failed = rig.finish(rig.make_job(**rows))
    assert (error["message"], error["param"], error["code"]) == (
        failed.error_message,
        failed.error_param,
        failed.error_code,
    )
    assert "zebra" not in refused.text


def test_what_the_trainer_says_is_wrong_with_a_file_is_passed_on(desk: Api, ask: Any, checks: Checks) -> None:
    failure = CheckFailure(
        code=FailureCode.INVALID_TRAINING_FILE, message="The template refuses.", param="training_file"
    )
    checks.trainer.check = failing_report(failure)
    try:
        answer = ask(training_file=make_file(desk.services, desk.project_id).id)
    finally:
        checks.trainer.check = known_shape
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "The template refuses."


def test_what_would_fail_a_job_in_its_data_is_refused(desk: Api, ask: Any, checks: Checks) -> None:
    finding = Finding(check="secrets", severity=Severity.ERROR, file="training", message="1 example(s).", lines=(9,))
    checks.trainer.check = lambda directory: known_shape(directory).model_copy(update={"findings": (finding,)})
    try:
        answer = ask(training_file=make_file(desk.services, desk.project_id).id, data={"pii": "block"})
    finally:
        checks.trainer.check = known_shape
    assert answer.status_code == 400
    assert "See lines 9" in answer.json()["error"]["message"]


def test_a_check_that_dies_is_no_answer(desk: Api, ask: Any, checks: Checks) -> None:
    checks.dies = True
    answer = ask(training_file=make_file(desk.services, desk.project_id).id)
    checks.dies = False
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert not list(desk.services.settings.estimates.iterdir())


def test_of_a_base_that_is_not_known_no_memory_is_said(desk: Api, ask: Any, checks: Checks) -> None:
    checks.trainer.check = report_of
    try:
        body = ask(training_file=make_file(desk.services, desk.project_id).id).json()
    finally:
        checks.trainer.check = known_shape
    assert (body["memory"], body["trainable_parameters"], body["adapter_bytes"]) == (None, None, None)
    assert body["fits"] is True
    assert body["plan"]["micro_batch_tokens"] == 4096


def test_a_project_asks_one_thing_at_a_time_and_two_projects_are_the_most(desk: Api, checks: Checks) -> None:
    """Who asks much keeps nobody else waiting."""
    third_key = create_key(desk.services.database, "third").plaintext
    keys = (desk.key, desk.foreign_key, third_key)
    files = []
    for key in keys:
        caller = desk.services.authenticator.authenticate([(b"authorization", b"Bearer " + key.encode())])
        files.append(make_file(desk.services, caller.project_id).id)

    def ask_as(number: int) -> httpx.Response:
        with desk.http(keys[number]) as http:
            return http.post(PATH, json={"model": "tunesmith-demo", "training_file": files[number]})

    checks.hold, codes = threading.Event(), []
    threads = [threading.Thread(target=lambda n=n: codes.append(ask_as(n).status_code)) for n in range(2)]  # type: ignore[misc]
    try:
        threads[0].start()
        assert checks.waiting.acquire(timeout=30)
        again = ask_as(0)
        threads[1].start()
        assert checks.waiting.acquire(timeout=30)
        third = ask_as(2)
    finally:
        checks.hold.set()
        for thread in threads:
            thread.join(30)
        checks.hold = None
    for refused in (again, third):
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "5"
        assert refused.json()["error"]["type"] == "server_error"
    assert codes == [200, 200]
    assert [ask_as(number).status_code for number in range(3)] == [200, 200, 200]


def small_desk(desk: Api, **options: Any) -> EstimateDesk:
    """A desk to which files count as large sooner."""
    portion = Portion(whole_up_to_bytes=1000, head_bytes=20 * len(GOOD_LINE), spread_bytes=20 * len(GOOD_LINE))
    services = desk.services
    options = {"portion": portion, "launcher": services.launcher, **options}
    return EstimateDesk(
        database=services.database,
        blobs=services.blobs,
        planning=services.planning,
        root=services.settings.estimates,
        tokens=services.tokens,
        locks=services.locks,
        **options,
    )


def question(desk: Api, training: bytes, validation: bytes | None = None) -> Question:
    base = desk.services.base_models.find("tunesmith-demo")
    assert base is not None
    return Question(
        base=base,
        training=make_file(desk.services, desk.project_id, training),
        validation=None if validation is None else make_file(desk.services, desk.project_id, validation),
        method="supervised",
        requested={},
        pii="off",
        lora={},
    )


def test_a_large_file_is_sampled_and_its_figures_are_scaled(desk: Api) -> None:
    estimate = small_desk(desk).answer(question(desk, GOOD_LINE * 1000, GOOD_LINE * 500))
    assert estimate.sampled is True
    assert estimate.training.rows_looked_at is not None
    assert 38 <= estimate.training.rows_looked_at <= 42
    assert estimate.training.examples == 1000
    assert estimate.validation is not None
    assert estimate.validation.examples == 500
    # What "auto" comes to is of the whole file, not of the 40 lines.
    assert estimate.method.supervised.hyperparameters.n_epochs == 3
    whole = small_desk(desk, portion=Portion()).answer(question(desk, GOOD_LINE * 1000, GOOD_LINE * 500))
    assert whole.sampled is False
    assert estimate.training.tokens == pytest.approx(whole.training.tokens, rel=0.02)
    assert estimate.total_steps == whole.total_steps


def test_an_error_in_a_sample_names_the_line_of_the_file(desk: Api) -> None:
    lines = [GOOD_LINE] * 1000
    lines[979] = BAD_LINE
    with pytest.raises(InvalidRequest, match="980"):
        small_desk(desk).answer(question(desk, b"".join(lines)))


def test_a_check_that_takes_too_long_is_stopped(desk: Api) -> None:
    launcher = Endless()
    with pytest.raises(Busy, match="in time"):
        small_desk(desk, launcher=launcher, time_limit_s=0.1).answer(question(desk, GOOD_LINE * 10))
    assert launcher.stopped == launcher.launched == 1
    assert not list(desk.services.settings.estimates.iterdir())


class Endless:
    """A `Launcher` whose runs go on until they are stopped."""

    def __init__(self) -> None:
        self.launched = self.stopped = 0

    def launch(self, request: LaunchRequest) -> RunHandle:
        self.launched += 1
        return RunHandle("endless", {"run_directory": str(request.run_directory)})

    def poll(self, handle: RunHandle) -> RunState:  # noqa: ARG002
        return Running()

    def stop(self, handle: RunHandle, grace_s: float) -> None:  # noqa: ARG002
        self.stopped += 1


def test_what_a_killed_process_left_is_deleted_at_the_next_start(desk: Api, tmp_path: Path) -> None:
    services = replace(desk.services, settings=make_settings(tmp_path))
    left = services.settings.estimates / "abc" / "training.jsonl"
    left.parent.mkdir(parents=True)
    left.write_bytes(GOOD_LINE)
    tidy_up(services)
    assert not list(services.settings.estimates.iterdir())
    delete_leftovers(services.settings.estimates / "none", services.locks)


def test_a_job_keeps_its_estimate_and_what_it_took_beside_it(make_rig: MakeRig) -> None:
    launcher, trainer = playing({})
    trainer.check = known_shape
    rig = make_rig(launcher, trainer_memory_gib=4.0)
    job = rig.finish(rig.make_long_job())
    with system_session(rig.services.database) as session:
        report = session.exec(select(JobReportRow).where(JobReportRow.job_id == job.id)).one()
    assert report.estimate is not None
    assert report.measured is not None
    assert report.estimate["total_steps"] == job.total_steps == report.measured["n_steps"]
    assert report.measured["plan"] == trainer.specs[0].memory.model_dump()
    assert trainer.specs[0].memory.micro_batch_tokens == 4096

    second = rig.finish(rig.make_long_job())
    with system_session(rig.services.database) as session:
        later = session.exec(select(JobReportRow).where(col(JobReportRow.job_id) == second.id)).one()
    assert later.estimate is not None
    assert later.estimate["time"]["speed"] == "measured"


def test_a_job_that_fits_in_4_bits_alone_says_that_it_trains_so(make_rig: MakeRig) -> None:
    launcher, trainer = playing({})
    trainer.check = known_shape
    plain, allowed = (
        make_rig(launcher, trainer_memory_gib=4.0, allow_4bit=True),
        make_rig(launcher, trainer_memory_gib=0.693, allow_4bit=True),
    )
    for rig, quantization in ((plain, None), (allowed, "nf4")):
        job = rig.finish(rig.make_job())
        assert trainer.specs[-1].memory.quantization == quantization
        assert any("in 4 bits (NF4)" in message for message in rig.messages(job)) == (quantization is not None)


@pytest.mark.parametrize(("asked", "quantization"), [("none", None), ("nf4", "nf4"), ("int8", "int8")])
def test_a_job_has_its_base_held_as_it_asks_whatever_the_operator_allows(
    make_rig: MakeRig, asked: str, quantization: str | None
) -> None:
    launcher, trainer = playing({})
    trainer.check = known_shape
    rig = make_rig(launcher, trainer_memory_gib=4.0, allow_4bit=asked == "none")
    job = rig.finish(rig.make_job(requested_hyperparameters={**TWO_STEPS, "quantization": asked}))
    assert trainer.specs[-1].memory.quantization == quantization
    assert (job.hyperparameters or {})["quantization"] == asked
    assert not any("in 4 bits (NF4)" in message for message in rig.messages(job))  # it knows


def test_a_job_that_asks_for_no_quantisation_does_not_get_it_when_memory_runs_out(make_rig: MakeRig) -> None:
    launcher, trainer = playing(dict.fromkeys(range(1, 9), out_of_memory))
    trainer.check = known_shape
    rig = make_rig(launcher, trainer_memory_gib=4.0, allow_4bit=True)
    job = rig.finish(rig.make_job(requested_hyperparameters={**TEN_STEPS, "quantization": "none"}))
    assert {spec.memory.quantization for spec in trainer.specs} == {None}
    assert "or quantization 'nf4'" in (job.error_message or "")


def test_a_job_that_goes_on_in_4_bits_shows_it(make_rig: MakeRig) -> None:
    launcher, trainer = playing(dict.fromkeys(range(1, 6), out_of_memory))
    trainer.check = known_shape
    rig = make_rig(launcher, trainer_memory_gib=4.0, allow_4bit=True)
    job = rig.finish(rig.make_long_job())
    assert trainer.specs[-1].memory.quantization == "nf4"
    assert (job.hyperparameters or {})["quantization"] == "nf4"


def test_what_a_job_asks_for_reaches_its_run(make_rig: MakeRig) -> None:
    launcher, trainer = playing({})
    rig = make_rig(launcher)
    asked = {
        "learning_rate": 3e-4,
        "warmup_ratio": 0.2,
        "lr_scheduler": "linear",
        "weight_decay": 0.2,
        "max_grad_norm": 0.5,
        "max_seq_length": 64,
        "packing": True,
        "validation_interval": 2,
    }
    job = rig.finish(rig.make_job(requested_hyperparameters={**TWO_STEPS, **asked}))
    spec = trainer.specs[-1]
    assert (
        spec.method.model_dump()
        | {
            "learning_rate": 3e-4,
            "warmup_ratio": 0.2,
            "lr_scheduler": "linear",
            "weight_decay": 0.2,
            "max_grad_norm": 0.5,
            "validation_interval_steps": 2,
        }
        == spec.method.model_dump()
    )
    assert (spec.context_length_tokens, spec.packing) == (64, True)
    assert asked.items() <= (job.hyperparameters or {}).items()
    warned = [event.message for event in rig.events(job) if event.level == "warn"]
    assert (
        "warmup_ratio is 0.2, outside the usual 0 to 0.1: much of the run is spent at a low learning rate. "
        "The job goes on as you asked." in warned
    )


def test_a_job_that_cannot_fit_fails_while_it_is_validated_with_the_numbers(make_rig: MakeRig) -> None:
    launcher, trainer = playing({})
    trainer.check = known_shape
    rig = make_rig(launcher, trainer_memory_gib=0.1)
    job = rig.finish(rig.make_job())
    assert job.error_code == "out_of_memory"
    assert "0.107 GB are available" in (job.error_message or "")
    assert not trainer.specs


def test_blobs_that_vanish_between_row_and_bytes_are_an_unknown_file(desk: Api, ask: Any) -> None:
    file = make_file(desk.services, desk.project_id)
    desk.services.blobs.delete(BlobKey(file.id))
    assert ask(training_file=file.id).json()["error"]["message"] == f"invalid training_file: {file.id}"


@pytest.mark.parametrize(("gib", "at_once"), [(4.0, 2), (1.0, 1)])
def test_jobs_run_beside_each_other_as_far_as_memory_goes(make_rig: MakeRig, gib: float, at_once: int) -> None:
    launcher, trainer = playing({})
    trainer.check = known_shape
    rig = make_rig(launcher, trainer_memory_gib=gib, max_running_jobs=2)
    jobs = [rig.make_job(), rig.make_job()]
    together = 0
    while any(rig.job(job).finished_at is None for job in jobs):
        rig.tick()
        together = max(together, sum(rig.job(job).status == "running" for job in jobs))
    assert together == at_once
    assert [rig.job(job).status for job in jobs] == ["succeeded"] * 2


def out_of_memory(run: PlayedRun) -> Exited:
    run.train_to(2)
    return run.fail(code=FailureCode.OUT_OF_MEMORY, message="out of memory")


def killed_by_the_kernel(run: PlayedRun) -> Exited:
    run.train_to(2)
    return Exited(137, oom_killed=True)


@pytest.mark.parametrize("end", [out_of_memory, killed_by_the_kernel])
def test_after_memory_ran_out_the_job_goes_on_leaner_and_says_so(
    make_rig: MakeRig, end: Callable[[PlayedRun], Exited]
) -> None:
    launcher, trainer = playing({1: end, 2: end, 3: end, 4: end})
    trainer.check = known_shape
    rig = make_rig(launcher, trainer_memory_gib=4.0, allow_4bit=True)
    job = rig.finish(rig.make_long_job())

    assert job.status == "succeeded"
    plans = [
        (spec.memory.micro_batch_tokens, spec.memory.gradient_checkpointing, spec.memory.quantization)
        for spec in trainer.specs
    ]
    assert plans == [(4096, False, None), (50, False, None), (25, False, None), (20, False, None), (20, True, None)]
    assert {spec.method.batch_size for spec in trainer.specs} == {5}
    assert trainer.specs[1].resume_from == rig.worker.run_directory(job, 1).checkpoint(2)
    warned = [event.message for event in rig.events(job) if event.level == "warn"]
    assert len(warned) == 4
    assert all(message.startswith("Memory ran out.") for message in warned)
    assert rig.metrics_steps(job) == list(range(1, 11))


def test_when_nothing_leaner_is_left_the_job_fails_with_advice(make_rig: MakeRig) -> None:
    launcher, trainer = playing(dict.fromkeys(range(1, 20), out_of_memory))
    trainer.check = known_shape
    rig = make_rig(launcher, trainer_memory_gib=4.0)
    job = rig.finish(rig.make_long_job())
    assert (job.status, job.error_code) == ("failed", "out_of_memory")
    assert "shorter examples" in (job.error_message or "")
    assert [spec.memory.quantization for spec in trainer.specs] == [None] * 5


@pytest.mark.trainer
def test_the_real_trainer_says_what_the_estimate_needs(make_rig: MakeRig) -> None:
    rig = make_rig()
    services = rig.services
    base = services.base_models.find("tunesmith-demo")
    assert base is not None
    desk = EstimateDesk(
        services.database,
        services.blobs,
        services.launcher,
        services.planning,
        services.settings.estimates,
        services.tokens,
        services.locks,
    )
    files = [make_file(services, rig.project_id, content) for content in (GOOD_LINE * 20, None)]
    estimate = desk.answer(Question(base, files[0], files[1], requested={}, pii="warn", lora={}))
    assert (estimate.training.examples, estimate.validation and estimate.validation.examples) == (20, 10)
    assert estimate.training.tokens > estimate.training.trained_tokens > 0
    assert estimate.base_parameters == 3_672_832
    assert estimate.trainable_parameters == lora_parameters(DEMO, rank=16)
    assert estimate.memory is not None
    assert estimate.fits
    assert not list(services.settings.estimates.iterdir())
