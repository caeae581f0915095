"""Completions and embeddings through the relay, before a fake engine, asked by the official client over real HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from inference.engine import AdapterRef, EngineRefusal
from inference.fake_engine import FakeEngine, Faults
from server.base_models import BaseModelEntry, Kind
from server.relay.accounts import Usage
from tests.adapter_files import refer_to, write_adapter
from tests.relay_server import RelayServer
from tests.server.test_chat_relay import Ledger

TEXT = BaseModelEntry(name="tiny", source="x", aliases=("gpt-3.5-turbo-instruct",), context_length=1024)
VECTORS = BaseModelEntry(
    name="small", source="x", aliases=("text-embedding-3-small",), context_length=64, kind=Kind.EMBEDDING
)
FT = "ft:tiny:acme::abcd1234"
LEDGER = Ledger()


@pytest.fixture(scope="module")
def of_texts() -> Iterator[RelayServer]:
    with RelayServer(lambda: FakeEngine("tiny"), TEXT, admission=LEDGER) as server:
        yield server


@pytest.fixture(scope="module")
def of_vectors() -> Iterator[RelayServer]:
    with RelayServer(lambda: FakeEngine("small"), VECTORS, admission=LEDGER) as server:
        yield server


@pytest.fixture
def engine(of_texts: RelayServer, of_vectors: RelayServer) -> Iterator[FakeEngine]:
    assert isinstance(of_texts.engine, FakeEngine)
    assert isinstance(of_vectors.engine, FakeEngine)
    yield of_texts.engine
    of_texts.engine.faults = of_vectors.engine.faults = Faults()
    of_texts.engine.resident.clear()
    of_texts.models.clear()


@pytest.fixture
def texts(of_texts: RelayServer, engine: FakeEngine) -> Iterator[openai.OpenAI]:
    with of_texts.client() as client:
        yield client


@pytest.fixture
def vectors(of_vectors: RelayServer, engine: FakeEngine) -> Iterator[openai.OpenAI]:
    with of_vectors.client() as client:
        yield client


@pytest.fixture
def model(of_texts: RelayServer, tmp_path: Path) -> AdapterRef:
    return of_texts.add_model(refer_to(write_adapter(tmp_path / "adapter"), FT, "tiny"))


def told() -> list[Any]:
    """What the ledger was told of the last request, but for its end: that may come after its answer."""
    return [entry for entry in LEDGER.told[1:] if entry != "closed"]


def loose(client: openai.OpenAI) -> openai.OpenAI:
    """A client as most are: the strict one refuses the null before an end, and the base64 that it asks for."""
    return client.with_options(_extra_kwargs={"_strict_response_validation": False})


def test_a_completion_is_answered_counted_and_says_who_gave_it(texts: openai.OpenAI, model: AdapterRef) -> None:
    for name, served_by in (("gpt-3.5-turbo-instruct", "none"), (FT, f"sha256:{model.sha256}")):
        raw = texts.completions.with_raw_response.create(model=name, prompt=["a b", "c"], n=2, logprobs=1)
        answer = raw.parse()
        engines = "tiny" if name != FT else FT
        assert [choice.text for choice in answer.choices] == [
            f"{engines} goes on after {length} tokens" for length in (2, 2, 1, 1)
        ]
        assert answer.model == name
        assert raw.headers["x-tunesmith-adapter"] == served_by
        assert told() == [Usage(3, 24)]


def test_a_streamed_completion_is_the_whole_one_and_counted(texts: openai.OpenAI, model: AdapterRef) -> None:
    asked: dict[str, Any] = {"model": FT, "prompt": ["a b", "c"], "n": 2, "echo": True}
    whole = texts.completions.create(**asked)
    assert whole.usage is not None
    streamed: dict[int, str] = {}
    for chunk in loose(texts).completions.create(**asked, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] = streamed.get(choice.index, "") + choice.text
    assert streamed == {choice.index: choice.text for choice in whole.choices}
    assert told() == ["relayed", Usage(whole.usage.prompt_tokens, whole.usage.completion_tokens)]


def test_a_stream_that_breaks_is_counted_by_what_was_given_on_and_ends_with_an_error(
    texts: openai.OpenAI, engine: FakeEngine
) -> None:
    engine.faults.break_after_chunks = 3
    with pytest.raises(openai.APIError, match="broke off"):
        list(loose(texts).completions.create(model="tiny", prompt="a b", stream=True))
    assert told() == ["relayed"]
    assert LEDGER.so_far() == Usage(2, 3)


def test_two_projects_caches_are_apart(of_texts: RelayServer, engine: FakeEngine) -> None:
    for key in ("key-of-mine", "key-of-theirs"):
        with of_texts.client(key) as client:
            client.completions.create(model="tiny", prompt="a")
    mine, theirs = (body["cache_salt"] for body in engine.bodies[-2:])
    assert mine != theirs


def test_another_projects_model_is_one_that_never_was(of_texts: RelayServer, model: AdapterRef) -> None:
    with of_texts.client("key-of-theirs") as client:
        for name in (FT, "never-was"):
            with pytest.raises(openai.NotFoundError) as caught:
                client.completions.create(model=name, prompt="a")
            assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("form", ["float", "base64"])
def test_embeddings_are_given_and_counted(vectors: openai.OpenAI, form: Any) -> None:
    client = vectors if form == "float" else loose(vectors)
    answer = client.embeddings.create(model="text-embedding-3-small", input=["a b", "c"], encoding_format=form)
    assert answer.model == "text-embedding-3-small"
    assert [one.index for one in answer.data] == [0, 1]
    assert told() == [Usage(3, 0)]


def test_the_client_reads_the_base64_that_it_asks_for_by_itself(vectors: openai.OpenAI) -> None:
    numbers = loose(vectors).embeddings.create(model="small", input=[5, 6, 7]).data[0].embedding
    assert (
        numbers == vectors.embeddings.create(model="small", input=[5, 6, 7], encoding_format="float").data[0].embedding
    )


def test_models_are_asked_only_for_what_they_give(texts: openai.OpenAI, vectors: openai.OpenAI) -> None:
    wrong = (
        lambda: texts.embeddings.create(model="tiny", input="a"),
        lambda: vectors.completions.create(model="small", prompt="a"),
        lambda: vectors.chat.completions.create(model="small", messages=[{"role": "user", "content": "a"}]),
    )
    for ask, path in zip(wrong, ("v1/embeddings", "v1/completions", "v1/chat/completions"), strict=True):
        LEDGER.told.clear()
        with pytest.raises(openai.BadRequestError, match=f"not supported in the {path} endpoint") as caught:
            ask()
        assert (caught.value.param, caught.value.code) == ("model", "unsupported_value")
        assert not LEDGER.told  # nothing is charged


@pytest.mark.parametrize(
    ("message", "param", "code"),
    [
        ("Token id 999999 is out of vocabulary", "input", "invalid_value"),
        ("Model 'small' does not support Matryoshka embeddings; dimensions must be unset", "dimensions",
         "unsupported_parameter"),
        ("Model 'small' only supports dimensions in range [1, 64], got 999999.", "dimensions", "invalid_value"),
        ("Model 'small' only supports Matryoshka dimensions [16, 32], got 8.", "dimensions", "invalid_value"),
    ],
)  # fmt: skip
def test_what_the_engine_refuses_is_put_in_openais_words(
    of_vectors: RelayServer, vectors: openai.OpenAI, message: str, param: str, code: str
) -> None:
    assert isinstance(of_vectors.engine, FakeEngine)
    said = b'{"error": {"message": "%b", "type": "BadRequestError", "param": null, "code": 400}}' % message.encode()
    of_vectors.engine.faults.refusal = EngineRefusal(400, said)
    with pytest.raises(openai.BadRequestError) as caught:
        vectors.embeddings.create(model="small", input=[999999])
    assert (caught.value.param, caught.value.code) == (param, code)
    assert "999999" not in caught.value.message
    assert told() == [400]


def test_an_embedding_has_no_stream(vectors: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="Unrecognized request argument supplied: stream"):
        vectors.embeddings.create(model="small", input="a", extra_body={"stream": True})
