"""The diagnoses of a job, written in the transaction of what they were made from: each is said once, whatever dies."""

from collections.abc import Iterable

from sqlmodel import Session

from server.db.tables import JobCourseRow, JobRow
from server.fine_tuning.diagnoses.before_training import Plan, foresee
from server.fine_tuning.diagnoses.course import Course, RunFacts
from server.fine_tuning.diagnoses.diagnose import diagnose
from server.fine_tuning.diagnoses.finding import Diagnosis, Finding
from server.fine_tuning.job_changes import add_event
from server.fine_tuning.leases import find_course
from server.fine_tuning.lifecycle import NewEvent
from server.fine_tuning.preferences import method_name
from server.vocabulary import EventLevel
from trainer.contract.events import Progress, Succeeded, TrainerEvent
from trainer.contract.report import CheckReport


def foretell(session: Session, job: JobRow, report: CheckReport, *, now: float) -> None:
    """Say what can be told of a job that is to be queued, whose hyperparameters are resolved."""
    if report.training is None or job.training_settings is None:
        raise ValueError("a job that is to be queued has a training file and its numbers")
    n_validation = 0 if report.validation is None else report.validation.n_examples
    plan = Plan(
        n_examples=report.training.n_examples,
        n_validation=n_validation,
        batch_size=job.training_settings["batch_size"],
        learning_rate=job.training_settings["learning_rate"],
        parameters=report.base_parameters,
        method=method_name(job.method),
    )
    row = JobCourseRow(project_id=job.project_id, job_id=job.id, n_validation=n_validation)
    session.add(row)
    _say(session, job, row, foresee(plan), now=now)


class JobWatch:
    """Follows a run's events inside one transaction."""

    def __init__(self, session: Session, job: JobRow) -> None:
        self._session = session
        self._job = job
        self._row: JobCourseRow | None = None  # until there is something to keep in it
        self._course: Course | None = None

    def see(self, event: TrainerEvent) -> None:
        """Take up an event after its effects on the job, and say what can be told from here on."""
        if not isinstance(event, Progress | Succeeded):
            return
        row, course = self._load()
        if isinstance(event, Succeeded):
            course.is_over = True
        elif not course.add(event):
            return
        findings = diagnose(course, {Diagnosis(name) for name in row.said})
        _say(self._session, self._job, row, findings, now=event.at)

    def keep(self) -> None:
        """Write down how far the run has been followed."""
        if self._row is not None and self._course is not None:
            self._row.course = self._course.dump()

    def _load(self) -> tuple[JobCourseRow, Course]:
        if self._row is not None and self._course is not None:
            return self._row, self._course
        row = find_course(self._session, self._job)
        if row is None:  # the job was queued by a version that kept none
            row = JobCourseRow(project_id=self._job.project_id, job_id=self._job.id)
            self._session.add(row)
        facts = _facts(self._job, row)
        course = Course(facts) if row.course is None else Course.load(facts, row.course)
        self._row, self._course = row, course
        return row, course


def _facts(job: JobRow, row: JobCourseRow) -> RunFacts:
    if job.training_settings is None or job.total_steps is None or job.n_examples is None:
        raise ValueError("a job that runs has its numbers")
    return RunFacts(
        total_steps=job.total_steps,
        n_epochs=job.training_settings["n_epochs"],
        n_examples=job.n_examples,
        batch_size=job.training_settings["batch_size"],
        max_grad_norm=job.training_settings["max_grad_norm"],
        n_validation=row.n_validation,
        method=method_name(job.method),
    )


def _say(session: Session, job: JobRow, row: JobCourseRow, findings: Iterable[Finding], *, now: float) -> None:
    for finding in findings:
        add_event(session, job, NewEvent(finding.message, EventLevel.WARN, data=finding.event_data()), now=now)
        row.said = [*row.said, finding.name.value]
