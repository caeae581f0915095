"""A new route is covered the moment it exists: it has a caller, and another project's id is an unknown one to it."""

import re
from collections.abc import Iterator

import httpx
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from server.app import ROUTERS
from server.auth.dependencies import get_caller
from server.models.alias_routes import require_admin
from tests.factories import (
    make_batch,
    make_checkpoint,
    make_completion,
    make_completion_export,
    make_file,
    make_import,
    make_job,
    make_model,
    make_response,
    make_upload,
    make_webhook_endpoint,
)
from tests.running_api import Api

PUBLIC = {"/health", "/ready"}
ROUTES = [route for module in ROUTERS for route in module.router.routes if isinstance(route, APIRoute)]
_PERMISSIONS = "/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint:path}/permissions"
_ENDPOINT = "/v1/webhook_endpoints/{webhook_endpoint_id}"
BODIES: dict[str, dict[str, object]] = {  # of routes that look at the body first
    "/v1/uploads/{upload_id}/complete": {"part_ids": ["part_x"]},
    _PERMISSIONS: {"project_ids": ["proj_x"]},
    "/v1/chat/completions/{completion_id}": {"metadata": {}},
    f"{_ENDPOINT}/test": {"event_type": "fine_tuning.job.failed"},
}


def _dependencies(dependant: Dependant) -> Iterator[object]:
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from _dependencies(dependency)


ROUTES_WITH_AN_ID = [
    (method, route.path)
    for route in ROUTES
    if "{" in route.path and require_admin not in _dependencies(route.dependant)
    for method in route.methods
]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{sorted(route.methods)} {route.path}")
def test_a_route_has_a_caller_or_is_public(route: APIRoute) -> None:
    has_caller = get_caller in _dependencies(route.dependant)

    assert has_caller != (route.path in PUBLIC)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{sorted(route.methods)} {route.path}")
def test_a_route_is_refused_without_a_key(api: Api, route: APIRoute) -> None:
    path = re.sub(r"{[^}]*}", "x", route.path)
    for method in route.methods:
        answer = httpx.request(method, api.url.removesuffix("/v1") + path, json={})
        assert (answer.status_code == 401) != (route.path in PUBLIC)


@pytest.mark.parametrize(("method", "path"), ROUTES_WITH_AN_ID)
def test_another_projects_id_is_as_unknown_as_one_that_never_was(api: Api, method: str, path: str) -> None:
    job = make_job(api.services, api.project_id)
    make_checkpoint(api.services, job, 10)
    ids = {
        "batch_id": (make_batch(api.services, api.project_id).id, "batch_" + "0" * 32),
        "file_id": (make_file(api.services, api.project_id).id, "file-AAAAAAAAAAAAAAAAAAAAAA"),
        "webhook_endpoint_id": (make_webhook_endpoint(api.services, api.project_id).id, "whe_" + "A" * 24),
        "upload_id": (make_upload(api.services, api.project_id).id, "upload_" + "A" * 32),
        "fine_tuning_job_id": (job.id, "ftjob-AAAAAAAAAAAAAAAAAAAAAAAA"),
        "fine_tuned_model_checkpoint:path": (
            make_model(api.services, api.project_id).name,
            "ft:tunesmith-demo:personal::AAAAAAAA",
        ),
        "response_id": (make_response(api.services, api.project_id).id, "resp_" + "A" * 40),
        "completion_id": (make_completion(api.services, api.project_id), "chatcmpl-" + "A" * 16),
        "export_id": (make_completion_export(api.services, api.project_id), "cmplexport-" + "A" * 24),
        "import_id": (make_import(api.services, api.project_id).id, "mdlimport-AAAAAAAAAAAAAAAAAAAAAAAA"),
        "model:path": (make_model(api.services, api.project_id).name, "ft:tunesmith-demo:personal::AAAAAAAA"),
    }
    parameter = re.findall(r"{([^}]*)}", path)
    foreign, unknown = ids[parameter[0]]
    with api.http(api.foreign_key) as stranger:
        answers = [
            (name, stranger.request(method, re.sub(r"{[^}]*}", name, path), json=BODIES.get(path, {})))
            for name in (foreign, unknown)
        ]

    (status, shown), (expected_status, expected) = (
        (answer.status_code, answer.text.replace(name, "ID")) for name, answer in answers
    )
    assert (status, shown) == (expected_status, expected)
    assert status == 404


@pytest.mark.parametrize("path", ["/v1/files", "/v1/fine_tuning/jobs", "/v1/models", "/v1/chat/completions?order=desc"])
def test_a_list_shows_nothing_of_another_project(api: Api, path: str) -> None:
    mine = {
        make_file(api.services, api.project_id).id,
        make_job(api.services, api.project_id).id,
        make_model(api.services, api.project_id).name,
        make_completion(api.services, api.project_id),
    }
    with api.http() as owner, api.http(api.foreign_key) as stranger:
        assert mine & _ids(owner.get(path).json())
        assert not mine & _ids(stranger.get(path).json())


@pytest.mark.parametrize("path", ["/v1/files", "/v1/fine_tuning/jobs"])
def test_another_projects_id_is_no_cursor(api: Api, path: str) -> None:
    foreign = (
        make_file(api.services, api.project_id).id if "files" in path else make_job(api.services, api.project_id).id
    )
    with api.http(api.foreign_key) as stranger:
        answers = [stranger.get(path, params={"after": after}).text.replace(after, "ID") for after in (foreign, "x")]

    assert answers[0] == answers[1]


def _ids(listed: dict[str, list[dict[str, str]]]) -> set[str]:
    return {item["id"] for item in listed["data"]}
