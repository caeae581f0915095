import asyncio
import hashlib
from functools import partial

import httpx
import openai
import pytest

from inference.adapter_files import WEIGHTS
from inference.engine import AdapterRef
from server.db.system_session import system_session
from server.models.repository import set_hash
from server.models.resolving import Servable, adapter_of, find_servable
from server.record.manifest import MANIFEST, FileRecord
from server.tidying_up import tidy_up
from tests.adapter_files import write_adapter
from tests.factories import make_model
from tests.records import make_manifest
from tests.running_api import Api

NAMES = [
    "tunesmith-demo",
    "gpt-4o-mini-2024-07-18",
    "gpt-4o-mini",
    "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano-2025-04-14",
    "gpt-3.5-turbo",
]


def test_every_name_of_a_base_model_is_listed(client: openai.OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}

    assert list(listed)[: len(NAMES)] == NAMES
    assert client.models.retrieve("gpt-4o-mini") == listed["gpt-4o-mini"]
    assert listed["gpt-4o-mini"].owned_by == "system"


def test_fine_tuned_models_and_checkpoints_are_listed_like_any_other(api: Api, client: openai.OpenAI) -> None:
    model, checkpoint = make_model(api.services, api.project_id), make_model(api.services, api.project_id, step=10)

    listed = {listed.id: listed for listed in client.models.list()}

    assert listed[model.name].owned_by == "mine"
    assert listed[model.name].created == model.created_at
    assert client.models.retrieve(checkpoint.name) == listed[checkpoint.name]


@pytest.mark.parametrize("path", ["ft:Qwen%2FQwen3-8B:org::12345678", "ft:Qwen/Qwen3-8B:org::12345678:ckpt-step-10"])
def test_a_name_with_a_slash_is_one_name(http: httpx.Client, path: str) -> None:
    answer = http.get(f"/v1/models/{path}")

    name = path.replace("%2F", "/")
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "message": f"The model '{name}' does not exist",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_deleting_a_model_closes_the_door_unloads_it_and_deletes_its_files(api: Api, client: openai.OpenAI) -> None:
    row = make_model(api.services, api.project_id)
    adapter = adapter_of(row, api.services.settings.adapters)
    asyncio.run(api.engine.ensure_adapter(adapter))

    deleted = client.models.delete(row.name)

    assert (deleted.id, deleted.object, deleted.deleted) == (row.name, "model", True)
    assert row.name not in api.engine.resident
    assert not adapter.directory.exists()
    assert row.name not in [model.id for model in client.models.list()]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(row.name)
    with pytest.raises(openai.NotFoundError):
        client.models.delete(row.name)


def test_a_base_model_cannot_be_deleted(client: openai.OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="'gpt-4o-mini' is a base model of this server"):
        client.models.delete("gpt-4o-mini")


def test_files_that_another_model_has_too_stay(api: Api, client: openai.OpenAI) -> None:
    model = make_model(api.services, api.project_id)
    twin = make_model(api.services, api.project_id, directory=model.directory)

    client.models.delete(model.name)
    assert (api.services.settings.adapters / twin.directory).is_dir()
    client.models.delete(twin.name)
    assert not (api.services.settings.adapters / twin.directory).exists()


def test_models_of_an_older_version_get_their_hash_at_the_next_start(api: Api) -> None:
    adapters = api.services.settings.adapters
    recorded, bare, gone = (make_model(api.services, api.project_id) for _ in range(3))
    for row in (recorded, bare):
        write_adapter(adapters / row.directory)
    files = {WEIGHTS: FileRecord(bytes=1, sha256="7" * 64)}
    (adapters / recorded.directory / MANIFEST).write_bytes(make_manifest(files=files).dump())
    with system_session(api.database, write=True) as session:
        for row in (recorded, bare, gone):
            set_hash(session, row.name, None)

    tidy_up(api.services)

    find = partial(find_servable, api.database, api.services.base_models, adapters, api.project_id)
    hashes = [servable.adapter.sha256 for row in (recorded, bare, gone) if (servable := find(row.name))]
    as_it_lies = hashlib.sha256((adapters / bare.directory / WEIGHTS).read_bytes()).hexdigest()
    assert hashes == ["7" * 64, as_it_lies, ""]


def test_files_of_a_deleted_model_go_at_the_next_start_at_the_latest(api: Api, client: openai.OpenAI) -> None:
    row = make_model(api.services, api.project_id)
    directory = api.services.settings.adapters / row.directory
    client.models.delete(row.name)
    directory.mkdir()

    tidy_up(api.services)

    assert not directory.exists()


def test_a_name_is_found_by_its_own_project_only(api: Api, stranger: openai.OpenAI) -> None:
    row = make_model(api.services, api.project_id)
    adapters = api.services.settings.adapters
    theirs = api.services.authenticator.authenticate([(b"authorization", b"Bearer " + api.foreign_key.encode())])
    find = partial(find_servable, api.database, api.services.base_models, adapters)

    assert find(api.project_id, row.name) == Servable(
        "tunesmith-demo", AdapterRef(row.name, "tunesmith-demo", adapters / row.directory, 8, "5" * 64)
    )
    assert find(theirs.project_id, row.name) is None
    assert row.name not in [model.id for model in stranger.models.list()]


def test_a_fine_tuned_model_answers_under_its_name_and_no_other_projects(
    api: Api, client: openai.OpenAI, stranger: openai.OpenAI
) -> None:
    row = make_model(api.services, api.project_id)

    answer = client.chat.completions.create(model=row.name, messages=[{"role": "user", "content": "Hello"}])

    assert answer.model == row.name
    with pytest.raises(openai.NotFoundError) as unknown:
        stranger.chat.completions.create(model=row.name, messages=[{"role": "user", "content": "Hello"}])
    assert unknown.value.code == "model_not_found"
