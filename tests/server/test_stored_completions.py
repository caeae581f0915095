"""Stored chat completions, by the official client over real HTTP."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion
from sqlalchemy import event
from sqlmodel import col, func, select

from inference.fake_engine import Faults
from server.auth.api_keys import create_key
from server.db.project_session import project_session
from server.db.tables import StoredCompletionLabelRow, StoredCompletionRow
from server.ids import ProjectId
from tests.running_api import Api

MODEL = "tunesmith-demo"
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
TOOLS: list[Any] = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]


@pytest.fixture
def project(api: Api) -> Iterator[openai.OpenAI]:
    """A client of a project that is new, and so has nothing stored."""
    with api.client(create_key(api.database, f"stores completions {next(_NUMBERS)}").plaintext) as client:
        yield client
    api.engine.faults = Faults()


_NUMBERS = iter(range(10_000))


def store(client: openai.OpenAI, **asked: Any) -> ChatCompletion:
    answer: ChatCompletion = client.chat.completions.create(
        **({"model": MODEL, "messages": HELLO, "store": True} | asked)
    )
    return answer


def ids(client: openai.OpenAI, **asked: Any) -> list[str]:
    return [one.id for one in client.chat.completions.list(**asked)]


def test_what_is_stored_is_given_out_as_it_was_answered_with_what_was_asked(project: openai.OpenAI) -> None:
    asked = {"temperature": 0.5, "seed": 7, "tools": TOOLS, "user": "me", "metadata": {"a": "b"}, "n": 2}
    raw = project.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=HELLO,
        store=True,
        **asked,  # type: ignore[arg-type]  # each is what it says
    )
    answer = raw.parse()
    stored = project.chat.completions.retrieve(answer.id)

    assert stored.model_dump(include=set(answer.model_fields_set)) == answer.model_dump(
        include=set(answer.model_fields_set)
    )
    shown = stored.model_dump()
    assert shown["request_id"] == raw.headers["x-request-id"]
    assert (shown["temperature"], shown["seed"], shown["top_p"], shown["input_user"]) == (0.5, 7, 1.0, "me")
    assert (shown["tools"], shown["metadata"], shown["response_format"]) == (TOOLS, {"a": "b"}, None)
    assert "messages" not in shown
    assert [one.model_dump() for one in project.chat.completions.list()] == [shown]


@pytest.mark.parametrize("options", [None, {"include_usage": True}])
def test_a_stream_is_stored_as_the_whole_answer_that_it_is(project: openai.OpenAI, options: Any) -> None:
    extra = {} if options is None else {"stream_options": options}
    chunks = list(project.chat.completions.create(model=MODEL, messages=HELLO, store=True, stream=True, **extra))
    stored = project.chat.completions.retrieve(chunks[0].id)

    assert stored.choices[0].message.content == f"{MODEL} read 1 messages "
    assert stored.choices[0].finish_reason == "stop"
    assert stored.usage is not None
    assert (stored.usage.prompt_tokens, stored.usage.completion_tokens) == (1, 4)


@pytest.mark.parametrize("asked", [{}, {"store": False}, {"store": None}])
@pytest.mark.parametrize("stream", [False, True])
def test_nothing_is_stored_of_a_request_that_does_not_ask_for_it(
    project: openai.OpenAI, asked: dict[str, Any], stream: bool
) -> None:
    answer = project.chat.completions.create(model=MODEL, messages=HELLO, stream=stream, **asked)
    if stream:
        list(answer)  # type: ignore[call-overload]  # a stream
    assert ids(project) == []


def test_a_stream_that_is_cut_is_not_stored(api: Api, project: openai.OpenAI) -> None:
    api.engine.faults = Faults(break_after_chunks=3)
    with pytest.raises(openai.APIError):
        list(project.chat.completions.create(model=MODEL, messages=HELLO, store=True, stream=True))
    assert ids(project) == []


def test_an_answer_that_is_refused_is_not_stored(project: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        store(project, model="ft:nobody")
    assert ids(project) == []


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_hold_everything_once_in_order(project: openai.OpenAI, order: Any) -> None:
    made = [store(project).id for _ in range(7)]  # all at the same second, as the engine has it
    page = project.chat.completions.list(limit=3, order=order)
    assert (len(page.data), page.has_more) == (3, True)
    assert ids(project, limit=3, order=order) == (made if order == "asc" else made[::-1])


def test_a_list_goes_on_from_what_was_deleted_meanwhile(project: openai.OpenAI) -> None:
    made = [store(project).id for _ in range(7)]
    seen = []
    for one in project.chat.completions.list(limit=2):
        seen.append(one.id)
        project.chat.completions.delete(one.id)
    assert seen == made
    assert ids(project) == []


def test_a_filter_takes_any_number_of_pairs_and_the_model(project: openai.OpenAI) -> None:
    both = store(project, metadata={"app": "x", "run": "1"}).id
    one = store(project, metadata={"app": "x", "run": "2"}).id
    alias = store(project, model="gpt-4o-mini", metadata={"app": "x"}).id
    plain = store(project).id

    assert ids(project, metadata={"app": "x"}) == [both, one, alias]
    assert ids(project, metadata={"app": "x", "run": "1"}) == [both]
    assert ids(project, metadata={"app": "x", "run": "3"}) == []
    assert ids(project, metadata={"run": "x"}) == []
    assert ids(project, model="gpt-4o-mini") == [alias]
    assert ids(project, model=MODEL, metadata={"app": "x"}, limit=1, order="desc") == [one, both]
    assert ids(project, metadata={}) == [both, one, alias, plain]
    with pytest.raises(openai.BadRequestError):
        project.chat.completions.list(extra_query={"metadata": "app"})


@pytest.mark.parametrize(("n_pairs", "status"), [(16, 200), (17, 400), (100, 400)])
def test_a_filter_has_no_more_pairs_than_a_completion(project: openai.OpenAI, n_pairs: int, status: int) -> None:
    store(project, metadata={str(n): "x" for n in range(16)})
    query = {f"metadata[{n}]": "x" for n in range(n_pairs)} | {"model": MODEL}
    headers = {"authorization": f"Bearer {project.api_key}"}
    answer = httpx.get(f"{project.base_url}chat/completions", params=query, headers=headers)
    assert answer.status_code == status
    assert len(answer.json().get("data", [])) == (status == 200)


def test_metadata_is_replaced_and_found_by_what_it_is_now(project: openai.OpenAI) -> None:
    made = store(project, metadata={"a": "1", "b": "2"})
    updated = project.chat.completions.update(made.id, metadata={"b": "3"})

    assert updated.model_dump()["metadata"] == {"b": "3"}
    assert updated.choices == made.choices
    assert project.chat.completions.retrieve(made.id) == updated
    assert ids(project, metadata={"a": "1"}) == ids(project, metadata={"b": "2"}) == []
    assert ids(project, metadata={"b": "3"}) == ids(project, model=MODEL) == [made.id]
    assert project.chat.completions.update(made.id, metadata=None).model_dump()["metadata"] == {}
    assert ids(project, metadata={"b": "3"}) == []


@pytest.mark.parametrize(
    ("metadata", "param"),
    [
        ({str(number): "x" for number in range(17)}, "metadata"),
        ({"k" * 65: "v"}, f"metadata.{'k' * 64}"),
        ({"k": "v" * 513}, "metadata.k"),
        ({"k": 1}, "metadata.k"),
        ("text", "metadata"),
    ],
)
@pytest.mark.parametrize("stores", [True, False])
def test_metadata_has_openais_bounds_whether_it_is_stored_or_not(
    project: openai.OpenAI, metadata: Any, param: str, stores: bool
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        store(project, metadata=metadata, store=stores)
    assert caught.value.param == param
    fitting = {"k" * 64: "v" * 512} | {str(number): "" for number in range(15)}
    assert ids(project, metadata=fitting) == []
    made = store(project, metadata=fitting)
    with pytest.raises(openai.BadRequestError):
        project.chat.completions.update(made.id, metadata=metadata)
    assert ids(project, metadata=fitting) == [made.id]


def test_messages_are_listed_as_they_were_sent(api: Api, project: openai.OpenAI) -> None:
    """Not by the strict client: its list of words for roles has `assistant` alone."""
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "tool_calls": [_call()]},
        {"role": "tool", "tool_call_id": "call_1", "content": "found"},
    ]
    made = store(project, messages=messages, tools=TOOLS)
    client = openai.OpenAI(base_url=api.url, api_key=project.api_key, max_retries=0)
    listed = list(client.chat.completions.messages.list(made.id, limit=2))

    assert [one.id for one in listed] == [f"{made.id}-{place}" for place in range(4)]
    assert [one.role for one in listed] == ["system", "user", "assistant", "tool"]  # type: ignore[comparison-overlap]
    assert [one.content for one in listed] == ["Be brief.", "a\nb", None, "found"]
    assert listed[1].content_parts is not None
    assert [part.model_dump() for part in listed[1].content_parts] == [
        {"type": "text", "text": "a", "prompt_cache_breakpoint": None},
        {"type": "text", "text": "b", "prompt_cache_breakpoint": None},
    ]
    assert listed[0].content_parts is None
    assert listed[2].tool_calls is not None
    assert listed[2].tool_calls[0].id == "call_1"
    backwards = list(client.chat.completions.messages.list(made.id, limit=3, order="desc"))
    assert backwards == listed[::-1]
    with pytest.raises(openai.BadRequestError, match="after"):
        client.chat.completions.messages.list(made.id, after="chatcmpl-x-0")


def _call() -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}


def test_another_project_sees_nothing_of_it(project: openai.OpenAI, stranger: openai.OpenAI) -> None:
    made = store(project, metadata={"secret": "pair"}).id

    assert ids(stranger, metadata={"secret": "pair"}) == []
    assert made not in ids(stranger)
    for act in (
        stranger.chat.completions.retrieve,
        stranger.chat.completions.delete,
        stranger.chat.completions.messages.list,
        lambda name: stranger.chat.completions.update(name, metadata={}),
    ):
        assert _not_found(act, made) == _not_found(act, "chatcmpl-never")
    with pytest.raises(openai.BadRequestError):
        stranger.chat.completions.list(after=made)
    assert ids(project) == [made]


def _not_found(act: Callable[[str], Any], name: str) -> str:
    with pytest.raises(openai.NotFoundError) as caught:
        act(name)
    return caught.value.message.replace(name, "NAME")


def test_what_is_deleted_is_gone_with_what_it_was_found_by(api: Api, project: openai.OpenAI) -> None:
    made = store(project, metadata={"a": "b"}).id
    assert project.chat.completions.delete(made).deleted
    with pytest.raises(openai.NotFoundError):
        project.chat.completions.retrieve(made)
    with pytest.raises(openai.NotFoundError):
        project.chat.completions.delete(made)
    with project_session(api.database, _project_id(api, project)) as session:
        assert session.exec(select(func.count(col(StoredCompletionLabelRow.name)))).one() == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_disk_is_an_error_and_nothing_is_acknowledged(api: Api, project: openai.OpenAI, stream: bool) -> None:
    """A stream that has begun ends with the error in the place of its end."""
    long: list[Any] = [{"role": "user", "content": "x" * 1_000_000}]  # more than what the file has free

    def ask() -> None:
        answer: Any = store(project, stream=stream, messages=long)
        list(answer)

    with full_disk(api), pytest.raises(openai.APIError, match="no space left") as caught:
        ask()
    assert stream or isinstance(caught.value, openai.InternalServerError)
    assert ids(project) == []
    assert store(project).id == ids(project)[0]


@contextlib.contextmanager
def full_disk(api: Api) -> Iterator[None]:
    """SQLite's own word, at every insert of a completion."""

    def fill(_connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO stored_completion "):
            cursor.execute("PRAGMA max_page_count = 1")

    event.listen(api.database, "before_cursor_execute", fill)
    try:
        yield
    finally:
        event.remove(api.database, "before_cursor_execute", fill)
        api.database.dispose()  # the bound is the connections'


def test_an_answer_is_stored_before_it_is_acknowledged(api: Api, project: openai.OpenAI) -> None:
    """A whole one is there when it comes; of a stream nothing is missing when its end does."""
    with httpx.Client(base_url=api.url, headers={"authorization": f"Bearer {project.api_key}"}) as http:
        body = {"model": MODEL, "messages": HELLO, "store": True, "stream": True}
        with http.stream("POST", "/chat/completions", json=body) as answer:
            lines = [line for line in answer.iter_lines() if line]
        assert lines[-1] == "data: [DONE]"
        assert ids(project) == [json.loads(lines[0][6:])["id"]]


def test_completions_that_are_large_make_short_pages(api: Api, project: openai.OpenAI) -> None:
    made = [store(project).id for _ in range(3)]
    with project_session(api.database, _project_id(api, project), write=True) as session:
        for row in session.exec(select(StoredCompletionRow)):
            row.size_bytes = 20 * 1024**2
            session.add(row)
    page = project.chat.completions.list()
    assert [one.id for one in page.data] == made[:1]
    assert page.has_more
    assert ids(project) == made


def _project_id(api: Api, client: openai.OpenAI) -> ProjectId:
    headers = [(b"authorization", f"Bearer {client.api_key}".encode())]
    return api.services.authenticator.authenticate(headers).project_id
