"""The committed documents are what the server does: openapi.yaml, deviations.yaml and compatibility.md.

The judge is the official client, strict about every answer. Its walk below names every public method of the resources
in scope; one that a new version adds fails the test until it has its line here.
"""

import asyncio
import inspect
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml
from fastapi.routing import APIRoute
from openai._resource import SyncAPIResource

from openapi import update
from server.app import create_rest_app
from server.vocabulary import FilePurpose, JobStatus, WebhookEventType
from server.webhooks.event import WebhookEvent, WebhookEventData
from server.webhooks.signing import Message, new_secret, signed_headers
from tests.batch_rig import lines
from tests.factories import (
    make_batch,
    make_checkpoint,
    make_completion,
    make_file,
    make_job,
    make_model,
    make_part,
    make_response,
    make_upload,
    make_webhook_endpoint,
)
from tests.running_api import EMBEDDER, Api

OPENAPI = Path(update.__file__).parent
COMPATIBILITY = OPENAPI / "compatibility.md"
_HEAD = """\
<!-- Written by tests/contract/test_openapi.py; do not edit. -->
# What the official client can do here

Version {version} of the `openai` package, synchronous and asynchronous, with strict validation of every answer.

| method | here |
|---|---|
"""
_OTHERS = """
| the client's other resources | here |
|---|---|
"""
NOT_YET = "not yet: `Invalid URL`"
REMARKS = {
    "chat.completions.messages.list": "works; roles other than `assistant` are not in the client's list of words",
    "fine_tuning.jobs.pause": "works; `paused` is not in the client's list of words",
    "completions.create": "works; of streams, the client's class does not know OpenAI's null before an end",
    "embeddings.create": "works, with a model for it; the client's class does not know the base64 that it asks for",
    "moderations.create": "a clear error: there is no model for it",
}
REFUSED = {  # by name
    "responses.compact": "compacted",
    "responses.connect": "WebSocket",
}
NOT_YET_RESOURCES = ("admin", "evals")
NOT_PLANNED = (
    "audio",
    "beta",
    "containers",
    "content_provenance_checks",
    "conversations",
    "decisions",
    "images",
    "live",
    "realtime",
    "safety",
    "skills",
    "vector_stores",
    "videos",
)


class Blocking:
    """The asynchronous client, called as if it were the other one."""

    def __init__(self, inner: object, run: Callable[[Any], Any]) -> None:
        self._inner = inner
        self.run = run

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._inner, name)
        if not callable(member):
            return Blocking(member, self.run)

        def call(*values: Any, **named: Any) -> Any:
            answer = member(*values, **named)
            return self.run(_awaited(answer)) if inspect.isawaitable(answer) else answer

        return call


async def _awaited(answer: Any) -> Any:
    return await answer


@pytest.fixture
def blocking(api: Api) -> Iterator[Any]:
    with asyncio.Runner() as runner:
        client = openai.AsyncOpenAI(base_url=api.url, api_key=api.key, max_retries=0, _strict_response_validation=True)
        yield Blocking(client, runner.run)
        runner.run(client.close())


def files_create(client: openai.OpenAI, _api: Api) -> object:
    return client.files.create(file=b"{}", purpose="fine-tune")


def files_content(client: openai.OpenAI, api: Api) -> object:
    return client.files.content(make_file(api.services, api.project_id).id).read()


def files_retrieve_content(client: openai.OpenAI, api: Api) -> object:
    with pytest.warns(DeprecationWarning, match="content"):
        return client.files.retrieve_content(make_file(api.services, api.project_id).id)


def jobs_create(client: openai.OpenAI, api: Api) -> object:
    training_file = make_file(api.services, api.project_id).id
    return client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=training_file)


def jobs_pause(client: openai.OpenAI, api: Api) -> object:
    """Without validation: the client's list of words lacks `paused`, which OpenAI's own service answers."""
    job = make_job(api.services, api.project_id, status=JobStatus.QUEUED)
    raw = client.fine_tuning.jobs.with_raw_response.pause(job.id)
    assert raw.http_response.json()["status"] == "paused"
    client.fine_tuning.jobs.resume(job.id)  # a list with a paused job in it is one the client refuses
    return raw


def jobs_resume(client: openai.OpenAI, api: Api) -> object:
    return client.fine_tuning.jobs.resume(make_job(api.services, api.project_id, status=JobStatus.PAUSED).id)


def permissions_create(client: openai.OpenAI, api: Api) -> Any:
    model = make_model(api.services, api.project_id).name
    return client.fine_tuning.checkpoints.permissions.create(model, project_ids=[api.project_id])


def permissions_list(client: openai.OpenAI, api: Api) -> object:
    model = make_model(api.services, api.project_id).name
    client.fine_tuning.checkpoints.permissions.create(model, project_ids=[api.project_id])
    return client.fine_tuning.checkpoints.permissions.list(model)


def permissions_retrieve(client: openai.OpenAI, api: Api) -> object:
    with pytest.warns(DeprecationWarning, match="list"):
        return client.fine_tuning.checkpoints.permissions.retrieve(make_model(api.services, api.project_id).name)


def permissions_delete(client: openai.OpenAI, api: Api) -> object:
    model = make_model(api.services, api.project_id).name
    permissions = client.fine_tuning.checkpoints.permissions
    given = permissions.create(model, project_ids=[api.project_id]).data[0]
    return permissions.delete(given.id, fine_tuned_model_checkpoint=model)


def chat(client: openai.OpenAI, _api: Api) -> object:
    return client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}])


def chat_stream(client: Any, _api: Api) -> object:
    manager = client.chat.completions.stream(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}])
    if isinstance(client, Blocking):
        return client.run(final_completion(manager))
    with manager as stream:
        return stream.get_final_completion()


async def final_completion(manager: Any) -> object:
    async with manager as stream:
        return await stream.get_final_completion()


def completions_create(client: openai.OpenAI, _api: Api) -> object:
    return client.completions.create(model="gpt-4o-mini", prompt=["Hello", "there"], logprobs=2)


def embeddings_create(client: openai.OpenAI, _api: Api) -> object:
    return client.embeddings.create(model=EMBEDDER.name, input=["Hello", "there"], encoding_format="float")


def moderations_create(client: openai.OpenAI, _api: Api) -> object:
    with pytest.raises(openai.NotFoundError, match="no moderation model") as caught:
        client.moderations.create(input="Hello")
    return caught.value


def responses_stream(client: Any, _api: Api) -> object:
    manager = client.responses.stream(model="gpt-4o-mini", input="Hello")
    if isinstance(client, Blocking):
        return client.run(final_response(manager))
    with manager as stream:
        return stream.get_final_response()


async def final_response(manager: Any) -> object:
    async with manager as stream:
        return await stream.get_final_response()


def in_background(client: openai.OpenAI) -> str:
    return client.responses.create(model="gpt-4o-mini", input="Hello", background=True).id


def responses_delete(client: openai.OpenAI, api: Api) -> object:
    response_id = make_response(api.services, api.project_id).id
    assert client.responses.delete(response_id) is None
    return "deleted"


def uploads_complete(client: openai.OpenAI, api: Api) -> object:
    upload = make_upload(api.services, api.project_id)
    return client.uploads.complete(upload.id, part_ids=[make_part(api.services, upload).id])


def webhooks_create(client: openai.OpenAI, _api: Api) -> object:
    made = client.webhooks.create(name="hooks", url="https://8.8.8.8/", event_types=["fine_tuning.job.succeeded"])
    client.webhooks.delete(made.id)
    return made


def webhooks_test(client: openai.OpenAI, api: Api) -> object:
    """The API itself is the receiver: there is no such route, and that is an answer."""
    endpoint = make_webhook_endpoint(api.services, api.project_id, api.url)
    return client.webhooks.test(endpoint.id, event_type="fine_tuning.job.failed")


def batches_create(client: openai.OpenAI, api: Api) -> Any:
    file = make_file(api.services, api.project_id, lines(1), purpose=FilePurpose.BATCH)
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"run": "nightly"}
    )


def signed(use: Callable[[Any, bytes, dict[str, str], str], object]) -> "Call":
    """With what is sent to an endpoint."""

    def call(client: openai.OpenAI, _api: Api) -> object:
        secret = new_secret()
        event = WebhookEvent(
            id="evt_x", created_at=1, type=WebhookEventType.JOB_SUCCEEDED, data=WebhookEventData(id="ftjob-x")
        )
        headers = signed_headers(Message("wh_x", event.body()), [secret], now=time.time())
        return use(client.webhooks, event.body(), headers, secret)

    return call


def verify(webhooks: Any, body: bytes, headers: dict[str, str], secret: str) -> object:
    assert webhooks.verify_signature(body.decode(), headers, secret=secret) is None
    return "verified"


def messages_list(client: openai.OpenAI, api: Api) -> object:
    """Strictly, what an assistant has said; the client's list of words has no other role."""
    completion_id = make_completion(api.services, api.project_id, roles=("assistant",))
    return client.chat.completions.messages.list(completion_id)


Call = Callable[[openai.OpenAI, Api], object]
WALK: dict[str, Call | None] = {
    "files.content": files_content,
    "files.create": files_create,
    "files.delete": lambda client, api: client.files.delete(make_file(api.services, api.project_id).id),
    "files.list": lambda client, _: client.files.list(limit=1),
    "files.retrieve": lambda client, api: client.files.retrieve(make_file(api.services, api.project_id).id),
    "files.retrieve_content": files_retrieve_content,
    "files.wait_for_processing": lambda client, api: client.files.wait_for_processing(
        make_file(api.services, api.project_id).id
    ),
    "fine_tuning.jobs.cancel": lambda client, api: client.fine_tuning.jobs.cancel(
        make_job(api.services, api.project_id).id
    ),
    "fine_tuning.jobs.create": jobs_create,
    "fine_tuning.jobs.list": lambda client, _: client.fine_tuning.jobs.list(limit=1),
    "fine_tuning.jobs.list_events": lambda client, api: client.fine_tuning.jobs.list_events(
        make_job(api.services, api.project_id).id
    ),
    "fine_tuning.jobs.pause": jobs_pause,
    "fine_tuning.jobs.resume": jobs_resume,
    "fine_tuning.jobs.retrieve": lambda client, api: client.fine_tuning.jobs.retrieve(
        make_job(api.services, api.project_id).id
    ),
    "fine_tuning.jobs.checkpoints.list": lambda client, api: client.fine_tuning.jobs.checkpoints.list(
        make_checkpoint(api.services, make_job(api.services, api.project_id), 1, train_loss=0.5).job_id
    ),
    "fine_tuning.checkpoints.permissions.create": permissions_create,
    "fine_tuning.checkpoints.permissions.delete": permissions_delete,
    "fine_tuning.checkpoints.permissions.list": permissions_list,
    "fine_tuning.checkpoints.permissions.retrieve": permissions_retrieve,
    "fine_tuning.alpha.graders.run": None,
    "fine_tuning.alpha.graders.validate": None,
    "models.delete": lambda client, api: client.models.delete(make_model(api.services, api.project_id).name),
    "models.list": lambda client, _: client.models.list(),
    "models.retrieve": lambda client, api: client.models.retrieve(make_model(api.services, api.project_id).name),
    "chat.completions.create": chat,
    "chat.completions.delete": lambda client, api: client.chat.completions.delete(
        make_completion(api.services, api.project_id)
    ),
    "chat.completions.list": lambda client, _: client.chat.completions.list(limit=1, metadata={"a": "b"}),
    "chat.completions.parse": lambda client, _: client.chat.completions.parse(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}]
    ),
    "chat.completions.retrieve": lambda client, api: client.chat.completions.retrieve(
        make_completion(api.services, api.project_id)
    ),
    "chat.completions.stream": chat_stream,
    "completions.create": completions_create,
    "embeddings.create": embeddings_create,
    "moderations.create": moderations_create,
    "responses.cancel": lambda client, _: client.responses.cancel(in_background(client)),
    "responses.compact": None,
    "responses.connect": None,
    "responses.create": lambda client, _: client.responses.create(model="gpt-4o-mini", input="Hello"),
    "responses.delete": responses_delete,
    "responses.parse": lambda client, _: client.responses.parse(model="gpt-4o-mini", input="Hello"),
    "responses.retrieve": lambda client, api: client.responses.retrieve(make_response(api.services, api.project_id).id),
    "responses.stream": responses_stream,
    "responses.input_items.list": lambda client, api: client.responses.input_items.list(
        make_response(api.services, api.project_id).id
    ),
    "responses.input_tokens.count": lambda client, _: client.responses.input_tokens.count(
        model="gpt-4o-mini", input="Hello"
    ),
    "chat.completions.update": lambda client, api: client.chat.completions.update(
        make_completion(api.services, api.project_id), metadata={"a": "b"}
    ),
    "chat.completions.messages.list": messages_list,
    "uploads.cancel": lambda client, api: client.uploads.cancel(make_upload(api.services, api.project_id).id),
    "uploads.complete": uploads_complete,
    "uploads.create": lambda client, _: client.uploads.create(
        bytes=1, filename="training.jsonl", mime_type="text/jsonl", purpose="fine-tune"
    ),
    "uploads.upload_file_chunked": lambda client, _: client.uploads.upload_file_chunked(
        file=b"{}", filename="training.jsonl", bytes=2, mime_type="text/jsonl", purpose="fine-tune"
    ),
    "uploads.parts.create": lambda client, api: client.uploads.parts.create(
        make_upload(api.services, api.project_id).id, data=b"{}"
    ),
    "batches.cancel": lambda client, api: client.batches.cancel(make_batch(api.services, api.project_id).id),
    "batches.create": batches_create,
    "batches.list": lambda client, _: client.batches.list(limit=1),
    "batches.retrieve": lambda client, api: client.batches.retrieve(make_batch(api.services, api.project_id).id),
    "webhooks.create": webhooks_create,
    "webhooks.delete": lambda client, api: client.webhooks.delete(
        make_webhook_endpoint(api.services, api.project_id).id
    ),
    "webhooks.list": lambda client, _: client.webhooks.list(),
    "webhooks.retrieve": lambda client, api: client.webhooks.retrieve(
        make_webhook_endpoint(api.services, api.project_id).id
    ),
    "webhooks.rotate_secret": lambda client, api: client.webhooks.rotate_secret(
        make_webhook_endpoint(api.services, api.project_id).id, keep_old_secret_active_for_24_hours=True
    ),
    "webhooks.test": webhooks_test,
    "webhooks.unwrap": signed(
        lambda webhooks, body, headers, secret: webhooks.unwrap(body.decode(), headers, secret=secret)
    ),
    "webhooks.update": lambda client, api: client.webhooks.update(
        make_webhook_endpoint(api.services, api.project_id).id, name="new", url="https://8.8.4.4/"
    ),
    "webhooks.verify_signature": signed(verify),
    "webhooks.event_types.list": lambda client, _: client.webhooks.event_types.list(),
}
RESOURCES = (
    "files",
    "fine_tuning.jobs",
    "fine_tuning.jobs.checkpoints",
    "fine_tuning.checkpoints.permissions",
    "fine_tuning.alpha.graders",
    "models",
    "chat.completions",
    "completions",
    "embeddings",
    "moderations",
    "responses",
    "responses.input_items",
    "responses.input_tokens",
    "chat.completions.messages",
    "uploads",
    "uploads.parts",
    "batches",
    "webhooks",
    "webhooks.event_types",
)


def test_the_walk_names_every_method_of_the_client(client: openai.OpenAI) -> None:
    assert {name for resource in RESOURCES for name in _methods(client, resource)} == set(WALK)


@pytest.mark.parametrize("name", [name for name, call in WALK.items() if call is not None])
def test_a_method_in_scope_works(api: Api, client: openai.OpenAI, name: str) -> None:
    call = WALK[name]
    assert call is not None
    assert call(client, api) is not None


@pytest.mark.parametrize("name", [name for name, call in WALK.items() if call is not None])
def test_a_method_in_scope_works_asynchronously(api: Api, blocking: Any, name: str) -> None:
    call = WALK[name]
    assert call is not None
    assert call(blocking, api) is not None


@pytest.mark.parametrize(
    ("method", "path", "word"),
    [
        ("POST", "/v1/responses/compact", REFUSED["responses.compact"]),
        ("GET", "/v1/responses", REFUSED["responses.connect"]),
    ],
)
def test_what_is_refused_by_name_says_what_it_is(http: httpx.Client, method: str, path: str, word: str) -> None:
    answer = http.request(method, path, json={} if method == "POST" else None)

    assert answer.status_code == 400
    assert word in answer.json()["error"]["message"]


def test_every_other_resource_of_the_client_is_named(client: openai.OpenAI) -> None:
    resources = {
        name for name, _ in inspect.getmembers(type(client)) if isinstance(_member(client, name), SyncAPIResource)
    }

    assert resources == {resource.split(".")[0] for resource in RESOURCES} | set(NOT_YET_RESOURCES) | set(NOT_PLANNED)


def test_the_table_of_compatibility_is_up_to_date() -> None:
    """A stale one is written again, so that the next run passes; what changed is to be looked at and committed."""
    lines = [f"| `{name}` | {_here(name)} |" for name in WALK]
    others = [f"| `{name}` | not yet |" for name in NOT_YET_RESOURCES]
    others += [f"| `{name}` | not planned |" for name in NOT_PLANNED]
    rendered = _HEAD.format(version=openai.__version__) + "\n".join(lines) + "\n"
    rendered += _OTHERS + "\n".join(others) + "\n"
    committed = COMPATIBILITY.read_text("utf-8") if COMPATIBILITY.is_file() else ""
    if rendered != committed:
        COMPATIBILITY.write_text(rendered, "utf-8")
    assert rendered == committed


def test_the_committed_document_is_up_to_date() -> None:
    assert update.main(["--check"]) == 0, "run `python -m openapi.update` and commit openapi/openapi.yaml"


def test_a_stale_document_is_noticed(tmp_path: Path) -> None:
    document = tmp_path / "openapi.yaml"
    assert update.main(["--check"], document=document) == 1
    assert update.main([], document=document) == 0
    assert update.main(["--check"], document=document) == 0


def test_every_route_is_in_the_document_under_openais_operation_id(api: Api) -> None:
    document = yaml.safe_load(update.DOCUMENT.read_text("utf-8"))
    documented = {
        (method.upper(), path): operation["operationId"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    served = {
        (method, route.path_format): route.operation_id
        for route in create_rest_app(api.services).routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }

    relayed = {
        ("POST", "/v1/chat/completions"): "createChatCompletion",
        ("POST", "/v1/completions"): "createCompletion",
        ("POST", "/v1/embeddings"): "createEmbedding",
        ("POST", "/v1/responses"): "createResponse",
        ("POST", "/v1/responses/input_tokens"): "getInputTokenCounts",
    }
    assert documented == served | relayed
    assert "422" not in {
        status
        for operations in document["paths"].values()
        for operation in operations.values()
        for status in operation["responses"]
    }


def test_every_deviation_is_of_an_operation_and_says_why() -> None:
    document = yaml.safe_load(update.DOCUMENT.read_text("utf-8"))
    operations = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    deviations = yaml.safe_load((OPENAPI / "deviations.yaml").read_text("utf-8"))

    for deviation in deviations:
        assert set(deviation) == {"operation", "pointer", "reason"}
        assert deviation["operation"] in operations
        assert deviation["pointer"].startswith("/")
        assert deviation["reason"].strip()


def _here(name: str) -> str:
    if name in REFUSED:
        return "refused by name"
    if WALK[name] is None:
        return NOT_YET
    return REMARKS.get(name, "works")


def _member(client: openai.OpenAI, name: str) -> object:
    return None if name.startswith("_") else getattr(client, name)


def _methods(client: openai.OpenAI, resource: str) -> list[str]:
    owner: Any = client
    for part in resource.split("."):
        owner = getattr(owner, part)
    return [
        f"{resource}.{name}"
        for name, member in inspect.getmembers(type(owner), inspect.isfunction)
        if not name.startswith("_")
    ]
