"""The report of a job: kept with what it did to the job, served as JSON and as a page."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import httpx
import openai
import pytest

from server.db.project_session import project_session
from server.db.system_session import system_session
from server.db.tables import JobReportRow, JobRow
from server.fine_tuning.data_report import DataReport
from server.vocabulary import JobStatus
from tests.factories import EXAMPLE, make_file, make_job
from tests.job_rig import MakeRig, Rig, playing
from tests.played_runs import failing_report, report_of
from tests.running_api import Api
from trainer.contract.events import FailureCode
from trainer.contract.report import (
    CheckFailure,
    CheckReport,
    FileFigures,
    Finding,
    Histogram,
    OutputClass,
    Severity,
    Task,
)
from trainer.contract.run_directory import RunDirectory

FIGURES = FileFigures(
    task=Task.CLASSIFICATION,
    tokens=Histogram(edges=(10, 20, 30), counts=(4, 6)),
    characters=Histogram(edges=(0, 1), counts=(10,)),
    answer_tokens=Histogram(edges=(1, 2), counts=(10,)),
    classes=(OutputClass(first_line=1, n_examples=7), OutputClass(first_line=4, n_examples=3)),
    n_classes=2,
)
WARNING = Finding(
    check="duplicates",
    severity=Severity.WARNING,
    file="training",
    message="3 example(s) <b>&\"'</b> are the same.",
    lines=(2, 5, 6),
    n_lines=3,
)
ERROR = Finding(
    check="secrets", severity=Severity.ERROR, file="training", message="1 example(s).", lines=(9,), n_lines=1
)


def finding_report(*findings: Finding) -> Callable[[RunDirectory], CheckReport]:
    def make(directory: RunDirectory) -> CheckReport:
        report = report_of(directory)
        assert report.training is not None
        training = report.training.model_copy(update={"figures": FIGURES})
        return report.model_copy(update={"training": training, "findings": findings})

    return make


def checked(rig: Rig, job: JobRow) -> JobRow:
    rig.work_until(lambda: rig.job(job).status != JobStatus.VALIDATING_FILES)
    return rig.job(job)


def stored(rig: Rig, job: JobRow) -> dict[str, Any] | None:
    with system_session(rig.services.database) as session:
        row = session.get(JobReportRow, job.id)
        return None if row is None else row.data_gate


def make_checked_rig(make_rig: MakeRig, check: Callable[[RunDirectory], CheckReport], **settings: Any) -> Rig:
    launcher, trainer = playing({})
    trainer.check = check
    return make_rig(launcher, **settings)


def test_warnings_are_told_and_the_job_goes_on(make_rig: MakeRig) -> None:
    rig = make_checked_rig(make_rig, finding_report(WARNING))
    job = rig.make_job()
    assert checked(rig, job).status in (JobStatus.QUEUED, JobStatus.RUNNING)
    warned = [event.message for event in rig.events(job) if event.level == "warn"]
    assert warned == [f"{WARNING.message} See lines 2, 5, 6."]
    kept = stored(rig, job)
    assert kept is not None
    assert kept["findings"] == [WARNING.model_dump(mode="json")]
    assert (kept["training"]["n_examples"], kept["pii"]) == (10, "warn")


def test_an_error_fails_the_job_after_its_warnings_and_the_report_is_kept(make_rig: MakeRig) -> None:
    rig = make_checked_rig(make_rig, finding_report(ERROR, WARNING))
    job = rig.make_job()
    ended = rig.finish(job)
    assert (ended.status, ended.error_code, ended.error_param) == ("failed", "invalid_training_file", "training_file")
    assert ended.error_message == "1 example(s). See lines 9."
    assert [event.level for event in rig.events(job)][-2:] == ["warn", "error"]
    kept = stored(rig, job)
    assert kept is not None
    assert [finding["check"] for finding in kept["findings"]] == ["secrets", "duplicates"]


def test_a_file_that_cannot_be_read_has_a_report_that_says_why(make_rig: MakeRig) -> None:
    rig = make_checked_rig(make_rig, report_of)
    file = make_file(rig.services, rig.project_id, b"no JSON\n" * 12)
    ended = rig.finish(rig.make_job(training_file=file.id))
    kept = stored(rig, ended)
    assert kept is not None
    (finding,) = kept["findings"]
    assert (finding["severity"], finding["message"]) == ("error", ended.error_message)
    assert kept["training"] is None


def test_a_failure_that_is_not_the_files_fault_has_no_report(make_rig: MakeRig) -> None:
    failure = CheckFailure(code=FailureCode.BASE_MODEL_UNAVAILABLE, message="No.", param=None)
    rig = make_checked_rig(make_rig, failing_report(failure))
    assert stored(rig, rig.finish(rig.make_job())) is None


@pytest.mark.parametrize(
    ("setting", "asked", "policy"),
    [("warn", None, "warn"), ("redact", None, "redact"), ("warn", "redact", "redact"), ("block", "off", "off")],
)
def test_the_policy_is_the_jobs_own_or_else_the_operators_in_the_check_and_in_the_run(
    make_rig: MakeRig, setting: str, asked: str | None, policy: str
) -> None:
    seen = []

    def check(directory: RunDirectory) -> CheckReport:
        seen.append(directory.read_check_spec().pii)
        return report_of(directory)

    launcher, trainer = playing({})
    trainer.check = check
    rig = make_rig(launcher, pii_policy=setting)
    job = rig.make_job(data_options=None if asked is None else {"pii": asked})
    assert rig.finish(job).status == "succeeded"
    assert (seen, [spec.pii for spec in trainer.specs]) == ([policy], [policy])
    kept = stored(rig, job)
    assert kept is not None
    assert kept["pii"] == policy


def make_reported_job(api: Api, **columns: Any) -> JobRow:
    job = make_job(api.services, api.project_id, status=JobStatus.QUEUED)
    report = finding_report(WARNING)
    directory = RunDirectory(api.services.settings.runs / job.id)
    directory.root.mkdir(parents=True)
    directory.training_file.write_text((json.dumps(EXAMPLE) + "\n") * 10)
    data = DataReport.from_report(report(directory), "warn").model_dump(mode="json")
    with project_session(api.services.database, api.project_id, write=True) as session:
        session.add(JobReportRow(job_id=job.id, project_id=api.project_id, data_gate=data, **columns))
    return job


def test_the_report_is_json_unless_html_is_preferred(api: Api, http: httpx.Client) -> None:
    path = f"/v1/fine_tuning/jobs/{make_reported_job(api).id}/report"
    for headers, query, kind in (
        ({}, "", "application/json"),
        ({"accept": "text/html"}, "", "text/html"),
        ({"accept": "text/html"}, "?format=json", "application/json"),
        ({"accept": "application/json"}, "?format=html", "text/html"),
    ):
        answer = http.get(path + query, headers=headers)
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, kind)
        assert answer.headers["vary"] == "Accept"


def test_the_json_holds_the_findings_and_null_for_what_is_not_known(api: Api, http: httpx.Client) -> None:
    job = make_reported_job(api)
    report = http.get(f"/v1/fine_tuning/jobs/{job.id}/report").json()
    assert list(report) == ["object", "fine_tuning_job_id", "data", "estimate", "measured"]
    assert (report["object"], report["fine_tuning_job_id"]) == ("fine_tuning.job.report", job.id)
    assert (report["estimate"], report["measured"]) == (None, None)
    assert report["data"]["findings"][0]["lines"] == [2, 5, 6]
    assert report["data"]["training"]["figures"]["classes"][1] == {"first_line": 4, "n_examples": 3}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_needs_no_script_and_nothing_from_outside_and_escapes_every_word(api: Api, http: httpx.Client) -> None:
    hostile = {"peak<script>": "<img src=x>", "within": {"deeper": 1}}
    job = make_reported_job(api, estimate=hostile)
    answer = http.get(f"/v1/fine_tuning/jobs/{job.id}/report?format=html")
    tags = Tags()
    tags.feed(answer.text)
    assert not {"script", "img", "link", "iframe", "b2", "form"} & {tag for tag, _ in tags.found}
    assert all(not name.startswith("on") and name not in ("src", "href") for _, attrs in tags.found for name in attrs)
    assert not re.search(r"url\(|@import", answer.text)
    assert [tag for tag, _ in tags.found].count("svg") == 4
    assert "&lt;b&gt;&amp;&quot;&#x27;&lt;/b&gt; are the same." in answer.text
    assert "Lines 2, 5, 6" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_job_without_a_report_says_when_there_will_be_one(
    api: Api, client: openai.OpenAI, http: httpx.Client
) -> None:
    job = make_job(api.services, api.project_id)
    answer = http.get(f"/v1/fine_tuning/jobs/{job.id}/report")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (404, "report_not_found", "fine_tuning_job_id")
    assert 'it has status "validating_files"' in error["message"]


def test_another_projects_job_is_unknown(api: Api) -> None:
    job = make_reported_job(api)
    with api.http(api.foreign_key) as stranger:
        theirs = stranger.get(f"/v1/fine_tuning/jobs/{job.id}/report")
        unknown = stranger.get("/v1/fine_tuning/jobs/ftjob-unknown/report")
    assert (theirs.status_code, theirs.json()["error"]["code"]) == (404, "fine_tune_not_found")
    assert theirs.json()["error"] == json.loads(json.dumps(unknown.json()["error"]).replace("ftjob-unknown", job.id))


def test_an_unknown_format_is_refused_by_name(api: Api, http: httpx.Client) -> None:
    answer = http.get(f"/v1/fine_tuning/jobs/{make_reported_job(api).id}/report?format=pdf")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "format")


@pytest.mark.parametrize("data", [None, {}, {"pii": None}, {"pii": "redact"}])
def test_a_job_can_say_what_becomes_of_personal_data(
    api: Api, client: openai.OpenAI, data: dict[str, Any] | None
) -> None:
    file = make_file(api.services, api.project_id)
    job = client.fine_tuning.jobs.create(model="tunesmith-demo", training_file=file.id, extra_body={"data": data})
    with system_session(api.services.database) as session:
        row = session.get(JobRow, job.id)
        assert row is not None
        assert row.data_options == (None if data is None else {name: word for name, word in data.items() if word})


@pytest.mark.parametrize(
    ("data", "param"),
    [
        ("redact", "data"),
        ([], "data"),
        ({"pii": "keep"}, "data.pii"),
        ({"pii": True}, "data.pii"),
        ({"pi": "off"}, "data.pi"),
    ],
)
def test_other_words_about_data_are_refused_by_name(api: Api, client: openai.OpenAI, data: object, param: str) -> None:
    file = make_file(api.services, api.project_id)
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(model="tunesmith-demo", training_file=file.id, extra_body={"data": data})
    assert caught.value.param == param
