"""Embeddings by the real engine in its pooling runner, of a small random model, through the relay."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from inference.vllm.adapters import AdapterLimits
from inference.vllm.engine import VllmEngine
from server.base_models import BaseModelEntry, Kind
from tests.engine.conftest import EngineProcess, running_engine
from tests.relay_server import RelayServer
from tests.small_embedder import CONTEXT, ROWS, write_embedder

NAME = "tiny-embedder"
TEXTS = ["Hello! Who are you?", "Once upon a time", "x"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embedder(tmp_path_factory.mktemp("embedder"))


@pytest.fixture(scope="module")
def client(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    log = tmp_path_factory.mktemp("engine") / "engine.log"
    with running_engine(source, NAME, log, context_length=CONTEXT, embeds=True) as process, asking(process) as client:
        yield client


@contextmanager
def asking(process: EngineProcess) -> Iterator[openai.OpenAI]:
    base = BaseModelEntry(name=NAME, source="x", context_length=CONTEXT, kind=Kind.EMBEDDING)
    limits = AdapterLimits(max_resident=1, max_rank=8)
    make_engine = partial(VllmEngine, base_model=NAME, socket=process.command.socket, limits=limits)
    with RelayServer(make_engine, base) as service, service.client() as client:
        yield client


def embed(client: openai.OpenAI, texts: Any, **options: Any) -> torch.Tensor:
    answer = client.embeddings.create(model=NAME, input=texts, **{"encoding_format": "float", **options})
    assert [one.index for one in answer.data] == list(range(len(answer.data)))
    return torch.tensor([one.embedding for one in answer.data])


def test_vectors_are_those_of_the_model_itself(client: openai.OpenAI, source: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(source), AutoModel.from_pretrained(source).eval()
    given = embed(client, TEXTS)
    for text, vector in zip(TEXTS, given, strict=True):
        with torch.no_grad():
            own = model(input_ids=tokenizer(text, return_tensors="pt")["input_ids"]).last_hidden_state[0, 0]
        assert torch.cosine_similarity(own, vector, dim=0) > 0.999
    assert not torch.allclose(given[0], given[1], atol=1e-3)


def test_base64_and_tokens_give_the_same_vectors(client: openai.OpenAI, source: Path) -> None:
    floats = embed(client, TEXTS)
    tokens = [AutoTokenizer.from_pretrained(source)(text)["input_ids"] for text in TEXTS]
    assert torch.allclose(embed(client, tokens), floats, atol=1e-5)
    loose = client.with_options(_extra_kwargs={"_strict_response_validation": False})  # it asks for base64 by itself
    packed = loose.embeddings.create(model=NAME, input=TEXTS)
    assert torch.allclose(torch.tensor([one.embedding for one in packed.data]), floats, atol=1e-6)
    assert packed.usage.prompt_tokens == sum(map(len, tokens))


@pytest.mark.parametrize(
    ("asked", "param", "code"),
    [
        ({"input": [999_999]}, "input", "invalid_value"),
        ({"input": [ROWS]}, "input", "invalid_value"),
        ({"input": ["Hello", "nthe"]}, "input", "invalid_value"),  # of which the tokenizer makes that one
        ({"input": ["a", "word " * 3000]}, "input", "context_length_exceeded"),
        ({"input": [5] * (CONTEXT + 1)}, "input", "context_length_exceeded"),
        ({"input": "a", "dimensions": 8}, "dimensions", "invalid_value"),
    ],
)
def test_what_the_model_cannot_read_is_refused_and_the_engine_lives(
    client: openai.OpenAI, asked: dict[str, Any], param: str, code: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=NAME, **asked)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert embed(client, "a").shape == (1, 64)


@pytest.mark.torture
def test_the_server_for_a_gpu_knows_the_models_own_tokens_too(source: Path, tmp_path: Path) -> None:
    """Started on whatever there is."""
    with running_engine(source, NAME, tmp_path / "log", context_length=CONTEXT, embeds=True) as process:
        process.kill()
        argv = [word.replace("cpu_server", "gpu_server") for word in process.command.argv]
        assert "inference.vllm.gpu_server" in argv
        process.command = replace(process.command, argv=tuple(argv))
        process.start()
        with asking(process) as client:
            with pytest.raises(openai.BadRequestError):
                client.embeddings.create(model=NAME, input=[ROWS])
            assert embed(client, [5, ROWS - 1]).shape == (1, 64)


def test_a_vector_made_for_it_can_be_cut(client: openai.OpenAI) -> None:
    cut, whole = embed(client, "Hello", dimensions=16), embed(client, "Hello")[:, :16]
    assert torch.allclose(cut, torch.nn.functional.normalize(whole), atol=1e-5)


def test_a_request_of_as_many_texts_as_openai_takes_is_answered(client: openai.OpenAI) -> None:
    assert embed(client, [[number % 1000] for number in range(2048)]).shape == (2048, 64)


def test_text_is_not_asked_of_it(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="is an embedding model"):
        client.chat.completions.create(model=NAME, messages=[{"role": "user", "content": "Hello"}])
