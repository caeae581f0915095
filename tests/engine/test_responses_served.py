"""Responses by the real engine: what they say is what the same chat says."""

import json
import time
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel
from sqlalchemy import Engine

from inference.vllm.adapters import AdapterLimits
from inference.vllm.engine import VllmEngine
from server.base_models import BaseModelEntry
from server.db.engine import open_database
from server.db.migrate import migrate
from server.db.system_session import system_session
from server.db.tables import ProjectRow
from server.responses.counting import build_counting
from server.responses.desk import ResponseDesk
from server.responses.operation import build_operation
from server.responses.retention import Retention
from tests.engine.conftest import BASE, BASE_NAME, EngineProcess
from tests.engine.test_chat_parameters import WEATHER
from tests.relay_server import RelayServer

HELLO = "Hello! Who are you?"
TOOL: Any = {"type": "function", **WEATHER["function"]}
BRIEF: Any = {"model": BASE_NAME, "temperature": 0, "max_output_tokens": 16}


class Answer(BaseModel):
    ok: bool
    word: Literal["red", "blue"]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = tmp_path_factory.mktemp("home") / "tunesmith.db"
    migrate(path)
    database = open_database(path)
    with system_session(database, write=True) as session:
        session.add(ProjectRow(id="mine", name="mine", slug="mine", organization_id="org-1", created_at=1))
    yield database
    database.dispose()


@pytest.fixture(scope="module")
def client(engine_process: EngineProcess, database: Engine) -> Iterator[openai.OpenAI]:
    desk = ResponseDesk(database, Retention(days=30), 1024 * 1024, time.time)
    base = BaseModelEntry(name=BASE_NAME, source=str(BASE), context_length=1024, tool_call_parser="hermes")
    limits = AdapterLimits(max_resident=4, max_rank=64)
    socket = engine_process.command.socket
    server = RelayServer(
        lambda: VllmEngine(base_model=BASE_NAME, socket=socket, limits=limits),
        base,
        further=(build_operation(desk), build_counting(desk)),
    )
    with server, server.client() as client:
        yield client


def test_a_response_says_what_the_same_chat_says(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": HELLO}]
    chat = client.chat.completions.create(model=BASE_NAME, messages=messages, temperature=0, max_tokens=16)
    response = client.responses.create(instructions="Be brief.", input=HELLO, **BRIEF)

    assert response.output_text == chat.choices[0].message.content
    assert chat.usage is not None
    assert response.usage is not None
    assert response.usage.input_tokens == chat.usage.prompt_tokens
    assert response.usage.output_tokens == chat.usage.completion_tokens


def test_a_stream_says_what_the_whole_response_says(client: openai.OpenAI) -> None:
    options = {**BRIEF, "include": ["message.output_text.logprobs"], "top_logprobs": 2}
    whole = client.responses.create(input=HELLO, **options)
    events = list(client.responses.create(input=HELLO, stream=True, **options))
    last: Any = events[-1]

    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    assert _said(last.response) == _said(whole)
    assert last.response.usage.output_tokens == whole.usage.output_tokens
    assert last.type == f"response.{whole.status}"


def test_a_response_that_is_cut_says_so(client: openai.OpenAI) -> None:
    response = client.responses.create(model=BASE_NAME, input=HELLO, max_output_tokens=2)

    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


def test_a_chain_of_three_says_what_the_same_chat_says(client: openai.OpenAI) -> None:
    messages: Any = []
    previous: str | None = None
    for said in (HELLO, "And who else?", "Thanks."):
        response = client.responses.create(input=said, previous_response_id=previous, **BRIEF)
        messages.append({"role": "user", "content": said})
        chat = client.chat.completions.create(model=BASE_NAME, messages=messages, temperature=0, max_tokens=16)
        messages.append({"role": "assistant", "content": chat.choices[0].message.content})
        assert response.output_text == chat.choices[0].message.content
        previous = response.id


def test_an_answer_has_the_structure_that_was_asked_for(client: openai.OpenAI) -> None:
    parsed = client.responses.parse(model=BASE_NAME, input=HELLO, text_format=Answer, max_output_tokens=64)

    assert isinstance(parsed.output_parsed, Answer)


@pytest.mark.parametrize("stream", [False, True])
def test_a_function_is_called_and_its_output_is_read(client: openai.OpenAI, stream: bool) -> None:
    choice: Any = {"type": "function", "name": "get_weather"}
    options: Any = {"model": BASE_NAME, "tools": [TOOL], "tool_choice": choice, "temperature": 0}
    asked: Any = client.responses.create(input="The weather in Oslo?", stream=stream, **options)
    called = list(asked)[-1].response if stream else asked
    call = called.output[0]
    answered: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    response: Any = client.responses.create(input=[answered], previous_response_id=called.id, tools=[TOOL], **BRIEF)

    assert call.type == "function_call"
    assert json.loads(call.arguments)["city"] in ("Oslo", "Rome")
    assert called.usage.input_tokens < response.usage.input_tokens
    assert response.output_text


def test_the_count_is_what_the_model_then_reads(client: openai.OpenAI) -> None:
    options: Any = {"model": BASE_NAME, "instructions": "Be brief.", "tools": [TOOL]}
    first = client.responses.create(input=HELLO, max_output_tokens=4, **options)
    count = client.responses.input_tokens.count(input="More", previous_response_id=first.id, **options)
    second = client.responses.create(input="More", previous_response_id=first.id, max_output_tokens=4, **options)

    assert second.usage is not None
    assert count.input_tokens == second.usage.input_tokens


def test_an_input_that_is_too_long_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model=BASE_NAME, input="word " * 3000)

    assert refused.value.code == "context_length_exceeded"
    assert refused.value.param == "input"


def _said(response: Any) -> Any:
    return [[part.to_dict() for part in item.content] for item in response.output]
