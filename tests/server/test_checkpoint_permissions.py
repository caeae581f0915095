"""A project lets another use one of its models, and takes it back."""

import openai
import pytest

from server.auth.api_keys import find_project
from tests.factories import make_model
from tests.running_api import ADMIN_KEY, Api


def project_of(api: Api, key: str) -> str:
    with api.http(key) as http:
        caller = api.services.authenticator.authenticate([(b"authorization", f"Bearer {key}".encode())])
        assert http.get("/v1/models").status_code == 200
    return caller.project_id


def test_a_model_is_another_projects_to_use_for_as_long_as_it_is_let(api: Api, client: openai.OpenAI) -> None:
    model = make_model(api.services, api.project_id).name
    theirs = project_of(api, api.foreign_key)
    stranger = api.client(api.foreign_key)
    permissions = client.fine_tuning.checkpoints.permissions
    with pytest.raises(openai.NotFoundError):
        stranger.models.retrieve(model)

    given = permissions.create(model, project_ids=[theirs]).data[0]

    assert given.project_id == theirs
    assert given.id.startswith("cp_")
    assert [entry.id for entry in permissions.list(model)] == [given.id]
    assert stranger.models.retrieve(model).owned_by == "mine"
    assert model in [listed.id for listed in stranger.models.list()]
    said = stranger.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello"}])
    assert said.model == model
    with pytest.raises(openai.PermissionDeniedError, match="belongs to another project"):
        stranger.models.delete(model)

    assert permissions.delete(given.id, fine_tuned_model_checkpoint=model).deleted

    for ask in (
        lambda: stranger.models.retrieve(model),
        lambda: stranger.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello"}]),
        lambda: permissions.delete(given.id, fine_tuned_model_checkpoint=model),
    ):
        with pytest.raises(openai.NotFoundError):
            ask()
    assert model not in [listed.id for listed in stranger.models.list()]


def test_giving_the_same_permission_again_gives_the_first_one(api: Api, client: openai.OpenAI) -> None:
    model = make_model(api.services, api.project_id).name
    theirs = project_of(api, api.foreign_key)
    permissions = client.fine_tuning.checkpoints.permissions

    first, again = (permissions.create(model, project_ids=[theirs, theirs]).data for _ in range(2))

    assert len(first) == 1
    assert again == first


def test_permissions_are_listed_by_page_order_and_project(api: Api, client: openai.OpenAI) -> None:
    model = make_model(api.services, api.project_id).name
    theirs = project_of(api, api.foreign_key)
    permissions = client.fine_tuning.checkpoints.permissions
    first, second = permissions.create(model, project_ids=[api.project_id, theirs]).data

    assert [entry.id for entry in permissions.list(model)] == [second.id, first.id]
    assert [entry.id for entry in permissions.list(model, order="ascending")] == [first.id, second.id]
    assert [entry.id for entry in permissions.list(model, limit=1)] == [second.id, first.id]
    assert [entry.id for entry in permissions.list(model, project_id=theirs)] == [second.id]
    assert permissions.list(model, limit=0).data == []
    with pytest.raises(openai.BadRequestError, match="Invalid 'after'"):
        permissions.list(model, after="cp_unknown")


def test_an_admin_key_gives_permissions_for_the_models_of_every_project(api: Api) -> None:
    model = make_model(api.services, api.project_id).name
    admin = api.client(ADMIN_KEY).fine_tuning.checkpoints.permissions

    given = admin.create(model, project_ids=[project_of(api, api.foreign_key)]).data[0]

    assert api.client(api.foreign_key).models.retrieve(model).id == model
    assert [entry.id for entry in admin.list(model)] == [given.id]
    assert admin.delete(given.id, fine_tuned_model_checkpoint=model).deleted


def test_who_was_let_cannot_let_others(api: Api, client: openai.OpenAI) -> None:
    model = make_model(api.services, api.project_id).name
    theirs = project_of(api, api.foreign_key)
    client.fine_tuning.checkpoints.permissions.create(model, project_ids=[theirs])

    with pytest.raises(openai.NotFoundError):
        api.client(api.foreign_key).fine_tuning.checkpoints.permissions.create(model, project_ids=[theirs])


def test_a_project_that_is_not_there_is_named_by_its_place(api: Api, client: openai.OpenAI) -> None:
    model = make_model(api.services, api.project_id).name
    assert find_project(api.database, "proj_unknown", is_admin=False) is None

    with pytest.raises(openai.BadRequestError) as refused:
        client.fine_tuning.checkpoints.permissions.create(model, project_ids=[api.project_id, "proj_unknown"])

    assert refused.value.param == "project_ids[1]"
    assert client.fine_tuning.checkpoints.permissions.list(model).data == []


def test_a_deleted_model_is_nobodys(api: Api, client: openai.OpenAI) -> None:
    model = make_model(api.services, api.project_id).name
    client.fine_tuning.checkpoints.permissions.create(model, project_ids=[project_of(api, api.foreign_key)])

    client.models.delete(model)

    with pytest.raises(openai.NotFoundError):
        api.client(api.foreign_key).models.retrieve(model)


def test_a_name_with_a_slash_is_one_name(api: Api) -> None:
    make_model(api.services, api.project_id, name="ft:Qwen/Qwen3:org::AAAAAAAA")
    with api.http() as http:
        for name in ("ft:Qwen/Qwen3:org::AAAAAAAA", "ft:Qwen%2FQwen3:org::AAAAAAAA"):
            path = f"/v1/fine_tuning/checkpoints/{name}/permissions"
            given = http.post(path, json={"project_ids": [api.project_id]})
            permission_id = given.json()["data"][0]["id"]

            assert [entry["id"] for entry in http.get(path).json()["data"]] == [permission_id]
            assert http.delete(f"{path}/{permission_id}").json()["deleted"] is True
