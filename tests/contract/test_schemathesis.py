"""Whatever the document allows or forbids is sent to the API: no fault, and no answer that the document does not have.

Every operation of the document is driven, a new one from the moment it is there.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
import yaml
from schemathesis.checks import CHECKS, load_all_checks

from openapi import update
from server.auth.api_keys import create_key
from tests.factories import (
    make_checkpoint,
    make_file,
    make_import,
    make_job,
    make_model,
    make_response,
    make_upload,
    make_webhook_endpoint,
)
from tests.running_api import Api

DOCUMENT = yaml.safe_load(update.DOCUMENT.read_text("utf-8"))
PUBLIC = {"/health", "/ready"}
OPERATIONS = [(method.upper(), path) for path, operations in DOCUMENT["paths"].items() for method in operations]
# The document says the form of a request. That an id is nobody's, or a field not this method's, it does not.
load_all_checks()
NOT_ASKED = CHECKS.get_by_names(["positive_data_acceptance"])
schema = schemathesis.openapi.from_dict(DOCUMENT)
schema.config.generation.with_security_parameters = False  # a key is sent below, whatever the case has in its place
# What frames a message is HTTP's: a false length is answered below the API, before there is a request.
OF_HTTP = {"connection", "content-length", "expect", "host", "transfer-encoding", "upgrade"}

# Where a made-up id would be nobody's, every other one is of an object there is.
EXISTING: dict[str, Callable[[Api], str]] = {
    "file_id": lambda api: make_file(api.services, api.project_id).id,
    "upload_id": lambda api: make_upload(api.services, api.project_id).id,
    "fine_tuning_job_id": lambda api: (
        make_checkpoint(api.services, make_job(api.services, api.project_id), 1, train_loss=0.5).job_id
    ),
    "import_id": lambda api: make_import(api.services, api.project_id).id,
    "response_id": lambda api: make_response(api.services, api.project_id).id,
    "webhook_endpoint_id": lambda api: make_webhook_endpoint(api.services, api.project_id, api.url).id,
    "model": lambda api: make_model(api.services, api.project_id).name,
    "training_file": lambda api: make_file(api.services, api.project_id).id,
    "validation_file": lambda api: make_file(api.services, api.project_id).id,
}


@pytest.fixture(scope="module")
def wild(api: Api) -> Api:
    """As an administrator of a project where whatever is made is in nobody's way."""
    key = create_key(api.database, "wild", is_admin=True).plaintext
    caller = api.services.authenticator.authenticate([(b"authorization", f"Bearer {key}".encode())])
    return dataclasses.replace(api, key=key, project_id=caller.project_id)


@schema.parametrize()
@hypothesis.settings(max_examples=20)
def test_the_api_does_what_its_document_says(case: Any, wild: Api) -> None:
    place_existing(case, wild)
    for name in [name for name in case.headers or () if name.lower() in OF_HTTP]:
        del case.headers[name]
    case.call_and_validate(
        base_url=wild.url.removesuffix("/v1"),
        headers={"Authorization": f"Bearer {wild.key}"},
        excluded_checks=NOT_ASKED,
        timeout=30,
    )


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_an_operation_is_refused_without_a_key(api: Api, method: str, path: str) -> None:
    answer = httpx.request(method, api.url.removesuffix("/v1") + path, json={})

    assert (answer.status_code == 401) != (path in PUBLIC)


def place_existing(case: Any, api: Api) -> None:
    """Put ids of objects in the places of half of the made-up ones."""
    for values in (case.path_parameters, case.body):
        if isinstance(values, dict):
            for name in values.keys() & EXISTING.keys():
                if isinstance(values[name], str) and len(values[name]) % 2 == 0:
                    values[name] = "gpt-4o-mini" if values is case.body and name == "model" else EXISTING[name](api)
