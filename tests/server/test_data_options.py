"""What clients may ask of a job's data: a validation set held out, further files mixed in, a pilot."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from sqlmodel import select

from inference.fake_engine import FakeEngine
from server.auth.api_keys import create_key
from server.bootstrap import build_services
from server.db.project_session import project_session
from server.db.system_session import system_session
from server.db.tables import JobReportRow, JobRow
from server.files.service import delete_file
from server.fine_tuning.data_options import build_selection, wanted_selection
from server.fine_tuning.dry_runs.estimating import EstimateDesk, Question
from server.fine_tuning.dry_runs.sampling import Portion
from server.fine_tuning.reports.page import render
from server.fine_tuning.schemas import JobReport
from server.launchers.in_memory import InMemoryLauncher
from server.launchers.launcher import Exited
from server.record.manifest import read_manifest
from server.vocabulary import FilePurpose, JobStatus
from tests.factories import make_file
from tests.job_rig import MakeRig, Rig, playing
from tests.played_runs import PlayedRun, PlayedTrainer
from tests.real_checks import Check, make_real_check
from tests.running_api import Api, make_settings, serving
from trainer.contract.selection import SelectionSummary, read_selection_summary


def rows(n: int, *, start: int = 0) -> bytes:
    """Examples that have nothing in common."""
    return b"".join(
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": " ".join(f"w{word}of{number}" for word in range(20))},
                    {"role": "assistant", "content": f"answer {number}"},
                ]
            }
        ).encode()
        + b"\n"
        for number in range(start, start + n)
    )


@pytest.fixture(scope="module")
def real_check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    return make_real_check(tmp_path_factory.mktemp("base"))


class DataRig:
    def __init__(self, make_rig: MakeRig, check: Check) -> None:
        launcher, self.trainer = playing({})
        self.trainer.check = check
        self.rig: Rig = make_rig(launcher)

    def file(self, content: bytes) -> str:
        return make_file(self.rig.services, self.rig.project_id, content).id

    def make_job(self, n: int, **options: Any) -> JobRow:
        columns = options.pop("columns", {})
        return self.rig.make_job(
            training_file=self.file(rows(n)),
            requested_hyperparameters={"n_epochs": 2, "batch_size": 5, "learning_rate_multiplier": "auto"},
            data_options=options,
            **columns,
        )

    def report(self, job: JobRow) -> dict[str, Any]:
        with system_session(self.rig.services.database) as session:
            row = session.get_one(JobReportRow, job.id)
            assert row.data_gate is not None
            return row.data_gate


@pytest.fixture
def data(make_rig: MakeRig, real_check: Check) -> DataRig:
    return DataRig(make_rig, real_check)


def test_a_share_is_held_out_and_everything_follows(data: DataRig) -> None:
    job = data.make_job(50, holdout=0.2, columns={"seed": 11})
    ended = data.rig.finish(job)
    assert (ended.status, ended.n_examples, ended.total_steps) == (JobStatus.SUCCEEDED, 40, 2 * 8)
    assert (
        "10 of 50 example(s) are held out for validation, in 10 group(s) of what is the same or nearly the same "
        "(seed 11)."
    ) in data.rig.messages(job)
    kept = data.report(job)
    assert (kept["training"]["n_examples"], kept["validation"]["n_examples"]) == (40, 10)
    assert kept["selection"]["n_held_out"] == 10
    (spec,) = data.trainer.specs
    assert spec.selection is not None
    assert (spec.selection.seed, spec.selection.holdout) == (11, 0.2)
    assert spec.selection_sha256 is not None  # without it a damaged choice could not be made again


def test_further_files_are_mixed_in_and_a_small_one_is_repeated_with_a_warning(data: DataRig) -> None:
    large, small = data.file(rows(30, start=100)), data.file(rows(12, start=200))
    job = data.make_job(20, mix_in=[{"file": large, "ratio": 0.5}, {"file": small, "ratio": 1.0}])
    ended = data.rig.finish(job)
    assert (ended.status, ended.n_examples) == (JobStatus.SUCCEEDED, 20 + 10 + 20)
    mixed = data.report(job)["selection"]["mixed_in"]
    assert [(of["file_id"], of["n_examples"], of["is_repeated"]) for of in mixed] == [
        (large, 10, False),
        (small, 20, True),
    ]
    warned = [event.message for event in data.rig.events(job) if event.level == "warn"]
    (repeated,) = [message for message in warned if "more than once" in message]
    assert repeated.startswith(f"{small} has fewer usable examples (12) than its ratio asks for (20)")
    for file_id in (large, small):
        assert (data.rig.services.settings.tokenized / file_id).is_dir()


@pytest.mark.parametrize(("asked", "n"), [(True, 100), (30, 30)])
def test_a_pilot_says_that_it_is_one_and_takes_so_many_examples(asked: bool | int, n: int, data: DataRig) -> None:
    job = data.make_job(120, pilot=asked, columns={"seed": 3, "suffix": "mine"})
    ended = data.rig.finish(job)
    assert (ended.status, ended.n_examples) == (JobStatus.SUCCEEDED, n)
    assert ":mine:" in str(ended.fine_tuned_model)
    said = f"This job is a pilot: it uses {n} of the 120 example(s) of the training file (seed 3)."
    assert said in data.rig.messages(job)
    assert data.report(job)["selection"]["pilot"] == n


def test_a_model_says_what_it_was_trained_on_by_hashes_and_without_the_ids_of_files(data: DataRig) -> None:
    content = rows(30, start=100)
    further = data.file(content)
    job = data.rig.finish(data.make_job(40, holdout=0.25, mix_in=[{"file": further, "ratio": 0.5}]))
    directory = data.rig.services.settings.adapters / data.rig.models()[-1].directory
    manifest = read_manifest(directory)
    assert manifest is not None
    assert manifest.training_data is not None
    assert manifest.validation_data is not None
    assert (manifest.training_data.n_examples, manifest.validation_data.n_examples) == (30 + 15, 10)
    assert manifest.validation_data.sha256 == manifest.training_data.sha256
    (mixed,) = manifest.mixed_in_data
    assert (mixed.sha256, mixed.n_examples) == (hashlib.sha256(content).hexdigest(), 15)
    for path in (directory / "manifest.json", directory / "README.md"):
        text = path.read_text()
        assert "mixed" in text
        assert not any(file_id in text for file_id in (further, job.training_file))
        assert "no validation file" not in text


def test_every_attempt_gets_what_the_check_chose_even_if_the_file_is_deleted(
    make_rig: MakeRig, real_check: Check
) -> None:
    seen: list[SelectionSummary | None] = []

    def crash(run: PlayedRun) -> Exited:
        seen.append(read_selection_summary(run.directory.selection))
        delete(rig, file.id)
        return run.crash_at(6)

    def succeed(run: PlayedRun) -> Exited:
        seen.append(read_selection_summary(run.directory.selection))
        return run.succeed()

    launcher, trainer = playing({1: crash, 2: succeed})
    trainer.check = real_check
    rig = make_rig(launcher)
    file = make_file(rig.services, rig.project_id, rows(40))
    job = rig.make_job(training_file=file.id, data_options={"holdout": 0.25})
    assert rig.finish(job).status == JobStatus.SUCCEEDED
    assert seen == [SelectionSummary(n_training=30, n_validation=10)] * 2


def delete(rig: Rig, file_id: str) -> None:
    with project_session(rig.services.database, rig.project_id, write=True) as session:
        delete_file(session, file_id)


def test_what_cannot_be_held_out_fails_the_job_and_says_why(data: DataRig) -> None:
    line = rows(1)
    job = data.rig.make_job(training_file=data.file(line * 12), data_options={"holdout": 0.2})
    ended = data.rig.finish(job)
    assert (ended.status, ended.error_code, ended.error_param) == ("failed", "invalid_training_file", "data.holdout")
    assert "are all the same, or nearly" in str(ended.error_message)
    assert [finding["check"] for finding in data.report(job)["findings"]] == ["file"]


BAD_MIXED_IN = {
    "no JSON": (b"no JSON\n" * 12, "invalid mix_in[0] file"),
    "another method's": (b'{"text": "x"}\n' * 12, "invalid mix_in[0] file"),
}


@pytest.mark.parametrize("name", BAD_MIXED_IN)
def test_errors_name_the_mixed_in_file(name: str, data: DataRig) -> None:
    content, words = BAD_MIXED_IN[name]
    bad = data.file(content)
    ended = data.rig.finish(data.make_job(20, mix_in=[{"file": bad, "ratio": 1.0}]))
    assert (ended.error_code, ended.error_param) == ("invalid_training_file", "data.mix_in[0].file")
    assert str(ended.error_message).startswith(f"{bad}: The job failed")
    assert words in str(ended.error_message)


def test_findings_name_the_mixed_in_file(data: DataRig) -> None:
    twice = data.file(rows(10, start=100) * 2)
    job = data.make_job(20, mix_in=[{"file": twice, "ratio": 0.5}])
    data.rig.finish(job)
    warned = [event.message for event in data.rig.events(job) if event.level == "warn"]
    assert any(message.startswith(f"{twice}: 10 example(s) of the mix_in[0] file") for message in warned)


def test_a_mixed_in_file_that_is_deleted_before_it_was_read_fails_the_job(data: DataRig) -> None:
    gone = data.file(rows(10))
    job = data.make_job(20, mix_in=[{"file": gone, "ratio": 1.0}])
    delete(data.rig, gone)
    ended = data.rig.finish(job)
    assert (ended.error_code, ended.error_param) == ("invalid_training_file", "data.mix_in[0].file")
    assert f"{gone} was deleted before the job could read it" in str(ended.error_message)


@pytest.mark.parametrize("options", [None, {}, {"pilot": False}, {"mix_in": []}, {"pii": "off"}])
def test_who_asks_for_nothing_gets_all_of_the_file(options: dict[str, Any] | None) -> None:
    job = JobRow(seed=1, data_options=options)
    assert wanted_selection(job) is None


def create(api: Api, client: openai.OpenAI, **options: Any) -> Any:
    file = make_file(api.services, api.project_id)
    return client.fine_tuning.jobs.create(model="tunesmith-demo", training_file=file.id, extra_body={"data": options})


ACCEPTED = [
    {"holdout": 0.5},
    {"pilot": 10},
    {"pilot": 1000},
    {"pilot": True, "holdout": 0.01},
    {"holdout": None, "pilot": None, "mix_in": None},
]


@pytest.mark.parametrize("options", ACCEPTED)
def test_options_are_kept_with_the_job(options: dict[str, Any], api: Api, client: openai.OpenAI) -> None:
    job = create(api, client, **options)
    with system_session(api.services.database) as session:
        row = session.exec(select(JobRow).where(JobRow.id == job.id)).one()
        assert row.data_options == {name: value for name, value in options.items() if value is not None}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"holdout": 0}, "data.holdout"),
    ({"holdout": 0.51}, "data.holdout"),
    ({"holdout": "0.2"}, "data.holdout"),
    ({"holdout": True}, "data.holdout"),
    ({"pilot": 9}, "data.pilot"),
    ({"pilot": 1001}, "data.pilot"),
    ({"pilot": "yes"}, "data.pilot"),
    ({"pilot": 10.5}, "data.pilot"),
    ({"mix_in": "file-1"}, "data.mix_in"),
    ({"mix_in": [{"file": "file-1"}]}, "data.mix_in[0].ratio"),
    ({"mix_in": [{"file": "file-1", "ratio": 0}]}, "data.mix_in[0].ratio"),
    ({"mix_in": [{"file": "file-1", "ratio": 10.1}]}, "data.mix_in[0].ratio"),
    ({"mix_in": [{"file": "file-1", "ratio": 1, "seed": 1}]}, "data.mix_in[0].seed"),
    ({"mix_in": [{"file": "file-none", "ratio": 1}]}, "data.mix_in[0].file"),
    ({"mix_in": [{"file": "file-1", "ratio": 1}] * 6}, "data.mix_in"),
    ({"hold_out": 0.2}, "data.hold_out"),
]


@pytest.mark.parametrize(("options", "param"), REFUSED, ids=[json.dumps(options)[:120] for options, _ in REFUSED])
def test_options_that_cannot_be_are_refused_by_name(
    options: dict[str, Any], param: str, api: Api, client: openai.OpenAI
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        create(api, client, **options)
    assert refused.value.param == param
    assert param in refused.value.message


def test_a_pilot_that_is_no_number_is_refused_in_plain_words(api: Api, client: openai.OpenAI) -> None:
    words = "Invalid type for 'data.pilot': expected an integer or a boolean, but got a string instead."
    with pytest.raises(openai.BadRequestError, match=words):
        create(api, client, pilot="yes")


def test_a_validation_file_and_a_holdout_exclude_each_other(api: Api, client: openai.OpenAI) -> None:
    files = [make_file(api.services, api.project_id).id for _ in range(2)]
    with pytest.raises(openai.BadRequestError, match="so that nothing is held out") as refused:
        client.fine_tuning.jobs.create(
            model="tunesmith-demo",
            training_file=files[0],
            validation_file=files[1],
            extra_body={"data": {"holdout": 0.1}},
        )
    assert refused.value.param == "data.holdout"


def test_patience_goes_by_what_is_held_out(api: Api, client: openai.OpenAI) -> None:
    method = {"type": "supervised", "supervised": {"hyperparameters": {"early_stopping_patience": 2}}}
    file = make_file(api.services, api.project_id)
    job = client.fine_tuning.jobs.create(
        model="tunesmith-demo", training_file=file.id, extra_body={"data": {"holdout": 0.1}, "method": method}
    )
    assert job.status == "validating_files"


def test_only_the_projects_own_files_for_training_are_mixed_in_and_each_once(
    api: Api, client: openai.OpenAI, http: httpx.Client
) -> None:
    training, other = (make_file(api.services, api.project_id).id for _ in range(2))
    wrong = make_file(api.services, api.project_id, purpose=FilePurpose.BATCH).id
    with api.client(api.foreign_key) as stranger:
        foreign = stranger.files.create(file=("x.jsonl", rows(10)), purpose="fine-tune").id
    for files, place, words in (
        ([training], 0, "is given as 'training_file', too"),
        ([other, other], 1, "is given as 'data.mix_in[0].file', too"),
        ([wrong], 0, "has the purpose 'batch'"),
        ([foreign], 0, f"invalid data.mix_in[0].file: {foreign}"),
    ):
        mix_in = [{"file": file_id, "ratio": 1} for file_id in files]
        with pytest.raises(openai.BadRequestError) as refused:
            client.fine_tuning.jobs.create(
                model="tunesmith-demo", training_file=training, extra_body={"data": {"mix_in": mix_in}}
            )
        assert refused.value.param == f"data.mix_in[{place}].file"
        assert words in refused.value.message


def test_the_page_of_a_report_says_what_was_chosen(data: DataRig) -> None:
    job = data.make_job(50, holdout=0.2, pilot=30)
    data.rig.finish(job)
    with system_session(data.rig.services.database) as session:
        page = render(JobReport.from_row(session.get_one(JobReportRow, job.id)))
    assert "it uses 30 of the 50 example(s)" in page
    assert "6 of 30 example(s) are held out" in page


@pytest.fixture
def desk(tmp_path: Path, real_check: Check) -> Iterator[Api]:
    """An API that answers estimates with the trainer's own check."""
    engine = FakeEngine("tunesmith-demo", reads_files=False)
    services = replace(
        build_services(make_settings(tmp_path / "desk"), {"tunesmith-demo": engine}),
        launcher=InMemoryLauncher(PlayedTrainer(check=real_check)),
    )
    key = create_key(services.database, "mine").plaintext
    project_id = services.authenticator.authenticate([(b"authorization", b"Bearer " + key.encode())]).project_id
    with serving(services) as url:
        yield Api(url, services, engine, key, key, project_id)
    services.database.dispose()


def test_an_estimate_goes_by_the_options_as_its_job_would(desk: Api) -> None:
    training, further = (make_file(desk.services, desk.project_id, rows(60, start=start)).id for start in (0, 100))
    body: dict[str, Any] = {"model": "tunesmith-demo", "training_file": training, "seed": 3}
    options = {"pilot": 20, "holdout": 0.25, "mix_in": [{"file": further, "ratio": 2}]}
    with desk.http() as http:
        answers = [http.post("/v1/fine_tuning/estimate", json={**body, "data": asked}) for asked in (None, options)]
        bad = {"mix_in": [{"file": make_file(desk.services, desk.project_id, b"no JSON\n" * 12).id, "ratio": 2}]}
        refused = http.post("/v1/fine_tuning/estimate", json={**body, "data": bad}).json()["error"]
    whole, chosen = (answer.json() for answer in answers)
    assert (whole["training"]["examples"], whole["validation"]) == (60, None)
    assert (chosen["training"]["examples"], chosen["validation"]["examples"]) == (15 + 30, 5)
    assert chosen["data_gate"]["selection"]["mixed_in"][0]["n_examples"] == 30
    assert (refused["param"], refused["code"]) == ("data.mix_in[0].file", "invalid_training_file")
    assert refused["message"].startswith(f"{bad['mix_in'][0]['file']}: The job failed")


@pytest.mark.parametrize(
    ("wanted", "n_training", "n_validation"),
    [
        ({"pilot": 10}, 10, None),  # fewer than are looked at
        ({"pilot": 100}, 100, None),  # more
        ({"pilot": 1000}, 400, None),  # more than there are
        ({"holdout": 0.25}, 300, 100),
        ({"mix_in": [{"file": "f", "ratio": 0.5}]}, 600, None),
        ({"pilot": 20, "holdout": 0.5, "mix_in": [{"file": "f", "ratio": 1.0}]}, 20, 10),
    ],
)
def test_an_estimate_of_a_part_of_a_large_file_is_one_of_what_would_be_chosen_of_all(
    data: DataRig, wanted: dict[str, Any], n_training: int, n_validation: int | None
) -> None:
    rig = data.rig
    base = rig.services.base_models.find("tunesmith-demo")
    assert base is not None
    files = [make_file(rig.services, rig.project_id, rows(400, start=start)) for start in (0, 1000)]
    desk = EstimateDesk(
        rig.services.database,
        rig.services.blobs,
        rig.worker.launcher,
        rig.services.planning,
        rig.services.settings.estimates,
        rig.services.tokens,
        rig.services.locks,
        portion=Portion(whole_up_to_bytes=1000, head_bytes=4000, spread_bytes=4000),
    )
    selection = build_selection(wanted, seed=1)
    mixed_in = [files[1]] if "mix_in" in wanted else []
    asked = Question(base, files[0], None, {}, "off", {}, mixed_in=mixed_in, selection=selection)
    estimate = desk.answer(asked)
    assert estimate.sampled
    assert estimate.training.examples == pytest.approx(n_training, rel=0.1)
    found = estimate.validation and estimate.validation.examples
    assert found == (n_validation and pytest.approx(n_validation, rel=0.15))
