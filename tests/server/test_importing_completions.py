"""Stored completions of an account become some of the project's, with their own time, once, and only where they may."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from server.bootstrap import Services, build_services
from server.importing.completions import CompletionImport, build
from server.importing.errors import ObjectFailed
from server.importing.report import Section
from tests.running_api import make_settings, serving
from tests.told_completions import told_completion, told_messages

DAY_S = 24 * 3600


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    services = build_services(make_settings(tmp_path, api_key="mine", stored_completion_mib=1))
    yield services
    services.database.dispose()


@pytest.fixture
def client(services: Services) -> Iterator[openai.OpenAI]:
    with serving(services) as url, openai.OpenAI(base_url=url, api_key="mine", max_retries=0) as client:
        yield client


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def importing(services: Services, said: list[str]) -> CompletionImport:
    section = Section("stored completions", said.append, lambda _: None, verb="stored")
    return CompletionImport(services.database, services.authenticator.default.project_id, services.settings, section)


def take(importing: CompletionImport, completion_id: str, **fields: Any) -> None:
    importing.store(told_completion(completion_id, **fields), told_messages(completion_id))


def test_one_is_shown_as_it_was_there(importing: CompletionImport, client: openai.OpenAI) -> None:
    told = told_completion("chatcmpl-a", age_s=3 * DAY_S)
    importing.store(told, told_messages("chatcmpl-a"))

    strict = client.with_options(_extra_kwargs={"_strict_response_validation": True})
    assert strict.chat.completions.retrieve("chatcmpl-a").to_dict() == told
    found = strict.chat.completions.list(metadata={"of": "a test"}, model="gpt-4o-mini-2024-07-18")
    assert [one.id for one in found] == ["chatcmpl-a"]
    messages = client.chat.completions.messages.list("chatcmpl-a")
    assert [message.to_dict() for message in messages] == told_messages("chatcmpl-a")


def test_what_is_there_or_was_deleted_is_not_stored_again(importing: CompletionImport, client: openai.OpenAI) -> None:
    for completion_id in ("chatcmpl-a", "chatcmpl-b"):
        take(importing, completion_id)
    client.chat.completions.update("chatcmpl-a", metadata={"mine": "now"})
    client.chat.completions.delete("chatcmpl-b")
    for completion_id in ("chatcmpl-a", "chatcmpl-b"):
        take(importing, completion_id)

    assert [(one.id, one.metadata) for one in client.chat.completions.list()] == [("chatcmpl-a", {"mine": "now"})]
    assert importing.section.lines() == ["stored completions: 2 stored, 2 were here"]


def test_nothing_of_the_projects_makes_room_for_what_comes(importing: CompletionImport, client: openai.OpenAI) -> None:
    take(importing, "chatcmpl-young")
    take(importing, "chatcmpl-late", age_s=31 * DAY_S)
    take(importing, "chatcmpl-large", service_tier="x" * 1024**2)

    assert [one.id for one in client.chat.completions.list()] == ["chatcmpl-young"]
    assert importing.section.lines() == [
        "stored completions: 1 stored, 2 not stored",
        "  1 because: they are older than the 30 days that they are kept here: chatcmpl-late",
        "  1 because: the project's may take 1048576 bytes: chatcmpl-large",
    ]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"id": "../x"}, "field 'id'"),
        ({"created": "yesterday"}, "field 'created'"),
        ({"choices": []}, "field 'choices'"),
        ({"metadata": {"a": 1}}, "field 'metadata.a'"),
        ({"model": None}, "field 'model'"),
        ({"service_tier": "\ud800"}, "half a character"),
    ],
)
def test_what_is_none_is_said_and_left_out(
    importing: CompletionImport, said: list[str], fields: dict[str, Any], reason: str
) -> None:
    take(importing, "chatcmpl-a", **fields)

    (line,) = said
    assert reason in line
    with pytest.raises(ObjectFailed):
        build(told_completion("chatcmpl-a", **fields), [])


def test_calls_of_tools_stay_what_they_are() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    sent = {"role": "assistant", "content": None, "tool_calls": [call]}
    answer = {"role": "tool", "content": "4", "tool_call_id": "call_1"}
    listed = [
        {"id": f"chatcmpl-a-{n}", "content_parts": None, "name": None, **one} for n, one in enumerate((sent, answer))
    ]

    assert json.loads(build(told_completion("chatcmpl-a"), listed).messages) == [sent, answer]
