"""A base model that gives embeddings is listed like any other, and refused by name where text is needed."""

from pathlib import Path

import httpx
import openai
import pytest

from server.base_models import BaseModelEntry, BaseModelsInvalid, Kind, load_base_models
from tests.factories import make_file
from tests.running_api import EMBEDDER, Api


def test_an_embedding_model_is_listed_and_answers(client: openai.OpenAI) -> None:
    assert EMBEDDER.name in [model.id for model in client.models.list()]
    assert client.models.retrieve(EMBEDDER.name).owned_by == "system"
    answer = client.embeddings.create(model=EMBEDDER.name, input="Hello there", encoding_format="float")
    assert answer.usage.prompt_tokens == 2


def test_it_is_refused_by_name_for_jobs_estimates_and_imports(
    api: Api, client: openai.OpenAI, http: httpx.Client
) -> None:
    training_file = make_file(api.services, api.project_id).id
    with pytest.raises(openai.BadRequestError, match=f"{EMBEDDER.name} gives embeddings") as caught:
        client.fine_tuning.jobs.create(model=EMBEDDER.name, training_file=training_file)
    assert (caught.value.param, caught.value.code) == ("model", "model_not_available")
    asked = {"model": EMBEDDER.name, "training_file": training_file}
    assert http.post("/v1/fine_tuning/estimate", json=asked).json()["error"]["param"] == "model"
    files = {"base_model": (None, EMBEDDER.name), "file": ("adapter.tar", b"x")}
    refused = http.post("/v1/tunesmith/model_imports", files=files)
    assert refused.status_code == 400
    assert "gives embeddings" in refused.json()["error"]["message"]


def test_there_is_no_moderation_whatever_is_asked_but_the_key_is_looked_at_first(api: Api, http: httpx.Client) -> None:
    for body in (b'{"input": "Hello", "model": "omni-moderation-latest"}', b'{"input": ["a", 1]}', b"{}"):
        answer = http.post("/v1/moderations", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "model_not_found"
        assert "Hello" not in answer.text
    with api.http("no key of ours") as stranger:
        assert stranger.post("/v1/moderations", json={"input": "Hello"}).json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("extra", ['tool_call_parser = "hermes"', 'chat_template = "x.jinja"'])
def test_an_embedding_model_has_nothing_of_a_chat(tmp_path: Path, extra: str) -> None:
    file = tmp_path / "base_models.toml"
    entry = '[[base_model]]\nname = "e"\nsource = "org/e"\ncontext_length = 512\nkind = "embedding"\n'
    file.write_text(entry)
    assert load_base_models(file).entries[0].kind is Kind.EMBEDDING
    file.write_text(entry + extra)
    with pytest.raises(BaseModelsInvalid, match="embedding model takes no"):
        load_base_models(file)


def test_a_model_is_one_for_chats_unless_it_says_otherwise() -> None:
    assert BaseModelEntry(name="m", source="x", context_length=512).kind is Kind.CHAT
