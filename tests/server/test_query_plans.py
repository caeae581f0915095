"""What is asked all the time is answered from an index, however many rows there are: SQLite's own plans say so."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from server.auth.api_keys import find_caller
from server.db.project_session import ProjectSession, project_session
from server.files import repository as files
from server.fine_tuning import repository as jobs
from server.fine_tuning.leases import claim_all, jobs_that_need_a_worker, models_to_purge
from server.models import repository as models
from server.models.shared_models import find_meaning
from server.responses import repository as responses
from server.stored_completions import repository as completions
from server.stored_completions.repository import Position, Sized, Wanted
from server.webhooks import repository as webhooks
from server.webhooks.delivering.repository import list_waiting
from tests.running_api import Api


def _completions(
    session: ProjectSession, labels: dict[str, str] | None = None, *, beyond: Position | None = None
) -> list[Sized]:
    return completions.list_sized(session, Wanted(labels or {}), beyond=beyond, limit=20, ascending=False)


_OF_A_CLIENT: dict[str, tuple[Callable[[ProjectSession], Any], str]] = {
    "a job": (lambda s: jobs.find_job(s, "j"), "sqlite_autoindex_job_1"),
    "jobs": (lambda s: jobs.list_jobs(s, before_seq=None, limit=20, metadata={}), "ix_job_project_id_seq"),
    "jobs, further on": (lambda s: jobs.list_jobs(s, before_seq=9, limit=20, metadata={}), "ix_job_project_id_seq"),
    "jobs by metadata": (
        lambda s: jobs.list_jobs(s, before_seq=None, limit=20, metadata={"k": "v"}),
        "ix_job_project_id_seq",
    ),
    "events": (lambda s: jobs.list_events(s, "j", before_seq=None, limit=20), "ix_job_event_job_id"),
    "events, further on": (lambda s: jobs.list_events(s, "j", before_seq=9, limit=20), "ix_job_event_job_id"),
    "checkpoints": (
        lambda s: jobs.list_checkpoints(s, "j", before_step=None, limit=10),
        "sqlite_autoindex_checkpoint_2",
    ),
    "files": (
        lambda s: files.list_files(s, after_seq=None, limit=20, ascending=False, purpose=None, now=1),
        "ix_file_project_id_seq",
    ),
    "webhook deliveries": (
        lambda s: webhooks.list_deliveries(s, "w", before_seq=None, limit=20),
        "ix_webhook_delivery_endpoint_id_seq",
    ),
    "stored completions": (lambda s: _completions(s), "ix_stored_completion_project_id_created_at_seq"),
    "stored completions, further on": (
        lambda s: _completions(s, beyond=Position(9, 9)),
        "ix_stored_completion_project_id_created_at_seq (project_id=? AND created_at<?)",
    ),
    "stored completions by a pair": (
        lambda s: _completions(s, {"metadata.k": "v"}, beyond=Position(9, 9)),
        "ix_stored_completion_label_order (project_id=? AND name=? AND value=? AND (created_at,completion_seq)<(?,?))",
    ),
    "stored completions by pairs and model": (
        lambda s: _completions(s, {"metadata.k": "v", "metadata.l": "w", "model": "m"}),
        "ix_stored_completion_label_order (project_id=? AND name=? AND value=?)",
    ),
    "a stored completion": (lambda s: completions.find_completion(s, "c"), "sqlite_autoindex_stored_completion_1"),
    "models": (models.list_models, "ix_fine_tuned_model_project_id_seq"),
    "a response": (lambda s: responses.find_response(s, "r"), "sqlite_autoindex_response_1"),
    "items of a response": (lambda s: responses.list_items(s, ["r"]), "sqlite_autoindex_response_item_1"),
    "responses in the background": (responses.count_unfinished, "ix_response_project_id_runner"),
    "the model of a chat": (lambda s: models.find_model(s, "m"), "sqlite_autoindex_fine_tuned_model_1"),
}

_OF_THE_SERVICE: dict[str, tuple[Callable[[Engine], Any], str]] = {
    "the caller of a key": (lambda database: find_caller(database, b"key"), "sqlite_autoindex_api_key_2"),
    "the worker's poll": (jobs_that_need_a_worker, "ix_job_stage"),
    "the worker's claim": (claim_all, "ix_job_stage"),
    "models to purge": (models_to_purge, "ix_fine_tuned_model_deleted_at"),
}


@pytest.mark.parametrize("name", _OF_A_CLIENT)
def test_a_clients_look_up_uses_its_index_and_sorts_nothing(api: Api, name: str) -> None:
    ask, index = _OF_A_CLIENT[name]
    with _plans(api.database) as plans, project_session(api.database, api.project_id) as session:
        ask(session)
    assert index in plans[-1]
    assert "TEMP B-TREE" not in plans[-1]
    assert not [step for plan in plans for step in _scans(plan)]


@pytest.mark.parametrize("name", _OF_THE_SERVICE)
def test_the_services_own_look_up_never_reads_all_rows(api: Api, name: str) -> None:
    ask, index = _OF_THE_SERVICE[name]
    with _plans(api.database) as plans:
        ask(api.database)
    assert index in plans[0]
    assert not _scans(plans[0])


def test_completions_that_are_named_are_looked_up_one_by_one(api: Api) -> None:
    with _plans(api.database) as plans, project_session(api.database, api.project_id) as session:
        completions.list_sized(session, Wanted(ids=["a", "b"]), beyond=Position(9, 9), limit=20, ascending=True)
    assert "sqlite_autoindex_stored_completion_1 (project_id=? AND id=?)" in plans[-1]


def test_the_meaning_of_a_name_is_found_without_reading_all_rows(api: Api) -> None:
    with _plans(api.database) as plans:
        find_meaning(api.database, api.project_id, "m")
    assert not _scans(plans[0])


def _scans(plan: str) -> list[str]:
    """The steps that read a whole table; json_each reads one row's metadata."""
    return [step for step in plan.splitlines() if step.startswith("SCAN") and "VIRTUAL TABLE" not in step]


def test_what_is_due_is_found_by_endpoint_however_many_deliveries_there_are(api: Api) -> None:
    with _plans(api.database) as plans:
        list_waiting(api.database, now=1.0)
    assert "ix_webhook_delivery_endpoint_id_due_at" in plans[0]
    assert _scans(plans[0]) == ["SCAN webhook_endpoint"]


@contextmanager
def _plans(database: Engine) -> Iterator[list[str]]:
    """Collects the plan of every query that is run inside."""
    plans: list[str] = []

    def explain(_: object, cursor: sqlite3.Cursor, statement: str, parameters: Any, *_rest: object) -> None:
        if statement.startswith("SELECT"):
            steps = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.append("\n".join(row[3] for row in steps))

    event.listen(database, "before_cursor_execute", explain)
    try:
        yield plans
    finally:
        event.remove(database, "before_cursor_execute", explain)
