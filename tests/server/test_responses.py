"""Responses by the official client, strict, over HTTP: kept, gone on from, listed, deleted; nobody else sees them."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel
from sqlalchemy import event

from inference.engine import EngineRefusal
from inference.fake_engine import Faults
from server.bootstrap import build_sweeper
from server.db.project_session import project_session
from server.errors import InvalidRequest
from server.responses import conversations, repository
from tests.factories import make_response
from tests.raw_client import RawClient
from tests.running_api import Api

MODEL = "gpt-4o-mini"
DAY_S = 24 * 3600


def say(client: openai.OpenAI, said: Any = "Hello", previous: str | None = None, **options: Any) -> Any:
    return client.responses.create(model=MODEL, input=said, previous_response_id=previous, **options)


def asked_last(api: Api) -> list[Any]:
    """Give the messages that the engine was asked with."""
    messages: list[Any] = api.engine.bodies[-1]["messages"]
    return messages


@pytest.fixture
def faults(api: Api) -> Any:
    yield api.engine.faults
    api.engine.faults = Faults()


def test_a_response_is_kept_as_it_was_given(client: openai.OpenAI) -> None:
    given = say(client, instructions="Be brief", metadata={"a": "b"}, temperature=0, user="u")

    assert client.responses.retrieve(given.id) == given
    assert given.output_text == "tunesmith-demo read 2 messages"
    assert given.id.startswith("resp_")
    assert len(given.id) == 45


def test_a_stream_is_kept_as_its_last_event_has_it(client: openai.OpenAI) -> None:
    events = list(client.responses.create(model=MODEL, input="Hello", stream=True))
    last: Any = events[-1]

    assert last.type == "response.completed"
    assert client.responses.retrieve(last.response.id) == last.response


def test_the_clients_helper_follows_a_stream(client: openai.OpenAI) -> None:
    with client.responses.stream(model=MODEL, input="Hello") as stream:
        told = [event.type for event in stream]
        final = stream.get_final_response()

    assert told.count("response.output_text.delta") == 4
    assert final.output_text.strip() == "tunesmith-demo read 1 messages"


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_not_to_be_stored_is_not(client: openai.OpenAI, stream: bool) -> None:
    answer = say(client, store=False, stream=stream)
    response = list(answer)[-1].response if stream else answer

    with pytest.raises(openai.NotFoundError) as unknown:
        client.responses.retrieve(response.id)
    assert response.id in unknown.value.message
    with pytest.raises(openai.BadRequestError, match="not found"):
        say(client, previous=response.id)


def test_a_conversation_goes_on_with_all_that_was_said(client: openai.OpenAI, api: Api) -> None:
    first = say(client, "one", instructions="not carried over")
    second = say(client, [{"role": "user", "content": "two"}], first.id)
    say(client, "three", second.id, instructions="Be brief")

    assert asked_last(api) == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": second.output_text},
        {"role": "user", "content": "three"},
    ]


def test_a_conversation_may_go_on_twice_from_the_same_response(client: openai.OpenAI, api: Api) -> None:
    first = say(client, "one")
    say(client, "left", first.id)
    say(client, "right", first.id)

    assert [message["content"] for message in asked_last(api)] == ["one", first.output_text, "right"]


def test_a_conversation_may_go_on_without_a_new_input(client: openai.OpenAI, api: Api) -> None:
    first = say(client, "one")
    client.responses.create(model=MODEL, previous_response_id=first.id)

    assert [message["content"] for message in asked_last(api)] == ["one", first.output_text]


def test_what_is_kept_can_be_named_instead_of_sent(client: openai.OpenAI, api: Api) -> None:
    first = say(client, "one")
    say(client, [{"type": "item_reference", "id": first.output[0].id}, {"role": "user", "content": "two"}])

    assert [message["content"] for message in asked_last(api)] == [first.output_text, "two"]


def test_an_item_that_is_not_kept_cannot_be_named(client: openai.OpenAI) -> None:
    first = say(client, "one", store=False)

    with pytest.raises(openai.NotFoundError, match="not persisted"):
        say(client, [{"type": "item_reference", "id": first.output[0].id}])


def test_a_deleted_response_is_gone_with_its_items(client: openai.OpenAI) -> None:
    first = say(client, "one")
    client.responses.delete(first.id)

    for again in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            again(first.id)
    with pytest.raises(openai.NotFoundError):
        say(client, [{"type": "item_reference", "id": first.output[0].id}])


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_conversation_with_a_hole_cannot_go_on(client: openai.OpenAI, place: int) -> None:
    ids: list[str] = []
    for said in ("one", "two", "three"):
        ids.append(say(client, said, ids[-1] if ids else None).id)
    client.responses.delete(ids[place])

    with pytest.raises(openai.BadRequestError) as refused:
        say(client, "four", ids[-1])
    assert refused.value.code == "previous_response_not_found"
    assert refused.value.param == "previous_response_id"
    assert refused.value.body == {
        "message": f"Previous response with id '{ids[place]}' not found.",
        "type": "invalid_request_error",
        "param": "previous_response_id",
        "code": "previous_response_not_found",
    }


def test_a_response_that_is_deleted_while_it_is_gone_on_from_leaves_a_hole(api: Api, client: openai.OpenAI) -> None:
    first = say(client, "one")
    with client.responses.create(model=MODEL, input="two", previous_response_id=first.id, stream=True) as stream:
        begun = next(iter(stream))
        client.responses.delete(first.id)
        *_, last = stream

    assert begun.type == "response.created"
    assert client.responses.retrieve(last.response.id).previous_response_id == first.id  # type: ignore[union-attr]
    with pytest.raises(openai.BadRequestError, match=first.id):
        say(client, "three", last.response.id)  # type: ignore[union-attr]


def test_another_projects_responses_are_as_unknown_as_those_that_never_were(
    client: openai.OpenAI, stranger: openai.OpenAI
) -> None:
    first = say(client, "one")

    def told(use: Callable[[str], object]) -> list[Any]:
        bodies = []
        for response_id, item_id in ((first.id, first.output[0].id), ("resp_" + "A" * 40, "msg_" + "A" * 48)):
            with pytest.raises(openai.APIStatusError) as refused:
                use(f"{response_id} {item_id}")
            text = refused.value.response.text.replace(response_id, "ID").replace(item_id, "ITEM")
            bodies.append((refused.value.status_code, text))
        return bodies

    for use in (
        lambda ids: stranger.responses.retrieve(ids.split()[0]),
        lambda ids: stranger.responses.delete(ids.split()[0]),
        lambda ids: stranger.responses.cancel(ids.split()[0]),
        lambda ids: stranger.responses.input_items.list(ids.split()[0]),
        lambda ids: say(stranger, "two", ids.split()[0]),
        lambda ids: say(stranger, [{"type": "item_reference", "id": ids.split()[1]}]),
    ):
        mine, nobodys = told(use)
        assert mine == nobodys


def test_the_input_is_listed_with_the_conversation_before_it(client: openai.OpenAI) -> None:
    first = say(client, [{"role": "user", "content": text} for text in "ab"])
    second = say(client, "c", first.id)
    ascending = client.responses.input_items.list(second.id, order="asc", limit=2)
    texts = [item.content[0].text for item in ascending]  # type: ignore[union-attr]

    assert texts == ["a", "b", first.output_text, "c"]
    newest = [item.id for item in client.responses.input_items.list(second.id)]
    assert newest == [item.id for item in client.responses.input_items.list(second.id, order="asc")][::-1]
    rest = client.responses.input_items.list(second.id, after=newest[1], limit=1)
    assert [item.id for item in rest.data] == newest[2:3]
    assert rest.has_more
    with pytest.raises(openai.BadRequestError, match="no object with the id"):
        client.responses.input_items.list(second.id, after="msg_x")


def test_a_conversation_is_found_by_as_many_statements_however_long_it_is(api: Api, client: openai.OpenAI) -> None:
    ids: list[str] = []
    for _ in range(12):
        ids.append(say(client, "x", ids[-1] if ids else None).id)
    n_statements = []
    for length in (2, 12):
        with counting_statements(api) as statements, project_session(api.database, api.project_id) as session:
            before = conversations.find_before(session, ids[length - 1], since=0, max_bytes=100_000)
        n_statements.append(len(statements))
        assert (before.depth, len(before.items)) == (length, 2 * length)

    assert n_statements[0] == n_statements[1]


@contextmanager
def counting_statements(api: Api) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            statements.append(statement)

    event.listen(api.database, "before_cursor_execute", note)
    yield statements
    event.remove(api.database, "before_cursor_execute", note)


@pytest.mark.parametrize("bounds", [{"max_bytes": 10}, {"max_bytes": 100_000, "most": 2}])
def test_a_conversation_that_is_too_long_is_refused(api: Api, client: openai.OpenAI, bounds: dict[str, int]) -> None:
    second = say(client, "x", say(client, "x").id)
    with project_session(api.database, api.project_id) as session:
        links = repository.list_links(session, second.id)

    conversations.check_links(links, second.id, since=0, max_bytes=100_000, most=3)
    with pytest.raises(InvalidRequest, match="too long"):
        conversations.check_links(links, second.id, since=0, **bounds)


def test_a_response_is_gone_when_its_time_is_over(api: Api, client: openai.OpenAI) -> None:
    old = make_response(api.services, api.project_id, created_at=1_000_000)

    for use in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            use(old.id)
    with pytest.raises(openai.BadRequestError, match="not found"):
        say(client, "more", old.id)
    build_sweeper(api.services).sweep_expired()
    with project_session(api.database, api.project_id) as session:
        assert repository.find_response(session, old.id) is None
        assert not repository.list_items(session, [old.id])


class Weather(BaseModel):
    city: str


def test_a_structure_is_asked_of_the_engine(client: openai.OpenAI, api: Api) -> None:
    with pytest.raises(ValueError, match="Invalid JSON"):
        client.responses.parse(model=MODEL, input="Hello", text_format=Weather)
    asked = api.engine.bodies[-1]["response_format"]

    assert asked["type"] == "json_schema"
    assert asked["json_schema"]["schema"]["required"] == ["city"]


@pytest.mark.parametrize(
    ("param", "code", "expected"),
    [
        ("input_tokens", "context_length_exceeded", "input"),
        ("max_completion_tokens", "context_length_exceeded", "max_output_tokens"),
        ("response_format", "invalid_value", "text.format"),
        (None, "invalid_value", None),
    ],
)
def test_a_refusal_of_the_engine_is_told_in_the_words_of_responses(
    client: openai.OpenAI, faults: Faults, param: str | None, code: str, expected: str | None
) -> None:
    said = {"error": {"message": "too long", "param": param, "code": 400}}
    faults.refusal = EngineRefusal(400, json.dumps(said).encode())

    with pytest.raises(openai.BadRequestError) as refused:
        say(client)
    assert (refused.value.code, refused.value.param) == (code, expected)
    assert "max_completion_tokens" not in refused.value.message


def test_a_stream_that_breaks_off_ends_with_a_failed_response_that_is_not_kept(
    client: openai.OpenAI, faults: Faults
) -> None:
    faults.break_after_chunks = 3
    last: Any = list(say(client, stream=True))[-1]

    assert last.type == "response.failed"
    assert last.response.error.code == "server_error"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(last.response.id)


def test_an_input_is_counted_by_the_engine(client: openai.OpenAI, api: Api) -> None:
    first = say(client, "one")
    counted = client.responses.input_tokens.count(
        model=MODEL, input="two", previous_response_id=first.id, instructions="Be brief", reasoning={"effort": "low"}
    )

    assert counted.input_tokens == 4
    assert api.engine.bodies[-1].keys() == {"model", "messages", "chat_template_kwargs"}
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.responses.input_tokens.count(model=MODEL, input="x", extra_body={"temperature": 0})


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses/input_tokens"])
def test_other_methods_are_refused_with_those_there_are(http: httpx.Client, path: str) -> None:
    answer = http.put(path, json={})

    assert answer.status_code == 405
    assert answer.headers["allow"] == ("GET, POST" if path == "/v1/responses" else "POST")


def test_a_stored_response_is_not_streamed(http: httpx.Client, client: openai.OpenAI) -> None:
    answer = http.get(f"/v1/responses/{say(client).id}", params={"stream": "true"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stream")


def test_a_synchronous_response_cannot_be_cancelled(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        client.responses.cancel(say(client).id)


def test_each_request_of_a_connection_is_answered_by_its_own_route(api: Api) -> None:
    """Also where a route's request is known by its bytes, and another's came in pieces in between."""

    def request(path: str, body: dict[str, Any]) -> list[bytes]:
        content = json.dumps({"model": MODEL, **body}).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {api.key}\r\ncontent-length: {len(content)}"
        return [head.encode() + b"\r\n\r\n", content]

    responding = request("/v1/responses", {"input": "Hello"})
    chatting = request("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}]})
    with RawClient(api.url.removesuffix("/v1")) as client:
        client.send(b"".join(responding))
        client.read()
        client.send(chatting[0].replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n"))
        assert client.socket.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"  # the body comes after the head was read
        client.send(chatting[1])
        client.read()
        client.send(b"".join(responding))
        client.read()

    assert [json.loads(answer.body)["object"] for answer in client.answers] == [
        "response",
        "chat.completion",
        "response",
    ]
