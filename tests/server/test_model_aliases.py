"""Administrators let a name of a project's stand for one of its models."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.factories import make_model
from tests.running_api import ADMIN_KEY, Api

ALIASES = "/v1/tunesmith/model_aliases"
OLD = "ft:gpt-4o-mini-2024-07-18:acme:support:9xYzAbCd"


@pytest.fixture(autouse=True)
def no_alias_is_left(api: Api) -> Iterator[None]:
    yield
    for alias in ask(api, "GET").json()["data"]:
        ask(api, "DELETE", alias["id"])


def ask(api: Api, method: str, name: str = "", key: str = ADMIN_KEY, **body: Any) -> httpx.Response:
    with api.http(key) as http:
        path = f"{ALIASES}/{name}" if name else ALIASES
        return http.request(method, path, headers={"OpenAI-Project": api.project_id}, json=body or None)


def test_an_old_name_answers_as_the_model_it_stands_for(api: Api, client: openai.OpenAI) -> None:
    model = make_model(api.services, api.project_id).name

    answer = ask(api, "PUT", OLD, target=model)

    assert answer.status_code == 200
    assert (answer.json()["id"], answer.json()["target"]) == (OLD, model)
    assert client.models.retrieve(OLD).id == OLD
    assert OLD in [listed.id for listed in client.models.list()]
    assert client.chat.completions.create(model=OLD, messages=[{"role": "user", "content": "Hello"}]).model == OLD
    assert [alias["id"] for alias in ask(api, "GET").json()["data"]] == [OLD]
    with pytest.raises(openai.NotFoundError):
        api.client(api.foreign_key).models.retrieve(OLD)

    assert ask(api, "DELETE", OLD).json()["deleted"] is True

    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(OLD)
    assert client.models.retrieve(model).id == model
    assert ask(api, "DELETE", OLD).status_code == 404


def test_an_alias_can_be_given_to_another_model_and_has_no_chain(api: Api, client: openai.OpenAI) -> None:
    model, other = (make_model(api.services, api.project_id).name for _ in range(2))
    ask(api, "PUT", OLD, target=model)

    assert ask(api, "PUT", "newest", target=OLD).json()["target"] == model
    assert ask(api, "PUT", OLD, target=other).json()["target"] == other

    targets = {alias["id"]: alias["target"] for alias in ask(api, "GET").json()["data"]}
    assert targets == {OLD: other, "newest": model}
    assert client.models.retrieve("newest").id == "newest"


@pytest.mark.parametrize(
    ("name", "target", "param"),
    [
        ("gpt-4o-mini", "tunesmith-demo", "name"),
        ("two%20words", "tunesmith-demo", "name"),
        ("x" * 257, "tunesmith-demo", "name"),
        ("fine", "ft:nothing:of::theKind1", "target"),
    ],
)
def test_a_name_that_hides_a_model_or_stands_for_nothing_is_refused(
    api: Api, name: str, target: str, param: str
) -> None:
    answer = ask(api, "PUT", name, target=target)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert ask(api, "GET").json()["data"] == []


@pytest.mark.parametrize(("method", "name"), [("GET", ""), ("PUT", OLD), ("DELETE", OLD)])
def test_aliases_are_for_administrators(api: Api, method: str, name: str) -> None:
    body = {"target": "tunesmith-demo"} if method == "PUT" else {}

    assert ask(api, method, name, key=api.key, **body).status_code == 403
