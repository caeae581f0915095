"""Stored completions become a training file, in one call."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from inference.fake_engine import FakeEngine
from server.__main__ import main
from server.auth.api_keys import create_key, list_keys
from server.bootstrap import build_services
from server.launchers.in_memory import InMemoryLauncher
from server.launchers.launcher import Exited, LaunchRequest, Lost
from tests.running_api import Api, make_settings, serving
from trainer.__main__ import screen
from trainer.contract.run_directory import RunDirectory

MODEL = "tunesmith-demo"
PATH = "/v1/tunesmith/chat_completion_exports"
_NUMBERS = iter(range(10_000))


class Screening:
    """The trainer's own look, in this process; or its death."""

    dies = False

    def __call__(self, request: LaunchRequest) -> Exited | Lost:
        assert request.task == "screen"
        return Exited(9) if self.dies else Exited(screen(RunDirectory(request.run_directory)))


@pytest.fixture(scope="module")
def screening() -> Screening:
    return Screening()


@pytest.fixture(scope="module")
def exporting(tmp_path_factory: pytest.TempPathFactory, screening: Screening) -> Iterator[Api]:
    engine = FakeEngine(MODEL, reads_files=False)
    services = build_services(make_settings(tmp_path_factory.mktemp("home"), max_file_bytes=200_000), {MODEL: engine})
    services = replace(services, launcher=InMemoryLauncher(screening))
    mine, theirs = (create_key(services.database, name).plaintext for name in ("mine", "theirs"))
    project_id = services.authenticator.authenticate([(b"authorization", b"Bearer " + mine.encode())]).project_id
    with serving(services) as url:
        yield Api(url, services, engine, mine, theirs, project_id)
    services.database.dispose()


@pytest.fixture
def key(exporting: Api) -> str:
    """Of a project that is new, and so has nothing stored."""
    return create_key(exporting.database, f"exports {next(_NUMBERS)}").plaintext


@pytest.fixture
def client(exporting: Api, key: str) -> Iterator[openai.OpenAI]:
    with exporting.client(key) as client:
        yield client


@pytest.fixture
def http(exporting: Api, key: str) -> Iterator[httpx.Client]:
    with exporting.http(key) as http:
        yield http


def store(client: openai.OpenAI, text: str, **asked: Any) -> str:
    messages: Any = [{"role": "user", "content": text}]
    answer = client.chat.completions.create(**({"model": MODEL, "messages": messages, "store": True} | asked))
    return str(answer.id)


def export(http: httpx.Client, **asked: Any) -> dict[str, Any]:
    answer = http.post(PATH, json={"pii": "off", **asked})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def refused(http: httpx.Client, **asked: Any) -> tuple[int, dict[str, Any]]:
    answer = http.post(PATH, json={"pii": "off", **asked})
    return answer.status_code, answer.json()["error"]


def lines(client: openai.OpenAI, made: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in client.files.content(made["file"]["id"]).text.splitlines()]


def questions(client: openai.OpenAI, made: dict[str, Any]) -> list[str]:
    return [line["messages"][0]["content"] for line in lines(client, made)]


def test_an_export_is_a_training_file_of_what_the_filter_finds(client: openai.OpenAI, http: httpx.Client) -> None:
    for number in range(3):
        store(client, f"q{number}", metadata={"app": "x", "number": str(number)})
    store(client, "another", metadata={"app": "y"})

    made = export(http, filter={"metadata": {"app": "x"}}, filename="teacher.jsonl")
    assert made == export(http, filter={"metadata": {"app": "x"}}, filename="teacher.jsonl") | {
        "id": made["id"],
        "file": made["file"],
        "created_at": made["created_at"],
    }
    assert (made["completions"], made["examples"], made["left_out"], made["pii"]) == (3, 3, {}, None)
    file = client.files.retrieve(made["file"]["id"])
    assert (file.filename, file.purpose, file.bytes) == ("teacher.jsonl", "fine-tune", made["file"]["bytes"])
    assert questions(client, made) == ["q0", "q1", "q2"]
    assert lines(client, made)[0]["messages"][1] == {"role": "assistant", "content": f"{MODEL} read 1 messages"}
    assert http.get(f"{PATH}/{made['id']}").json() == made


def test_every_filter_narrows(client: openai.OpenAI, http: httpx.Client) -> None:
    first, second = store(client, "first"), store(client, "second", model="gpt-4o-mini")
    created = client.chat.completions.retrieve(first).created

    assert questions(client, export(http)) == ["first", "second"]
    assert questions(client, export(http, filter={"model": "gpt-4o-mini"})) == ["second"]
    assert questions(client, export(http, filter={"ids": [first, "chatcmpl-x"]})) == ["first"]
    assert questions(client, export(http, filter={"ids": [second], "created_after": created})) == ["second"]
    assert questions(client, export(http, filter={"created_before": created + 1})) == ["first", "second"]
    status, error = refused(http, filter={"created_before": created})
    assert (status, error["code"], error["param"]) == (400, "nothing_to_export", "filter")
    status, error = refused(http, filter={"finish_reasons": ["length"]})
    assert (status, "left out were: finish_reason 2" in error["message"]) == (400, True)


def test_what_is_the_same_is_taken_once_unless_all_is_wanted(client: openai.OpenAI, http: httpx.Client) -> None:
    for _ in range(3):
        store(client, "again", n=2)

    assert export(http)["left_out"] == {"duplicate": 2}
    assert export(http, choices="all")["left_out"] == {"duplicate": 5}
    assert export(http, choices="all", dedupe=False)["examples"] == 6


@pytest.mark.parametrize("policy", ["warn", "redact", None])
def test_personal_data_is_treated_by_the_policy(client: openai.OpenAI, http: httpx.Client, policy: str | None) -> None:
    store(client, "write to ann@company.com")
    store(client, "nothing")

    made = export(http, pii=policy)
    assert made["pii"] == {"policy": policy or "warn", "examples": 1, "matches": {"e-mail address": 1}}
    said = "write to [EMAIL]" if policy == "redact" else "write to ann@company.com"
    assert questions(client, made) == [said, "nothing"]


def test_the_policy_block_makes_no_file(client: openai.OpenAI, http: httpx.Client) -> None:
    store(client, "write to ann@company.com")

    status, error = refused(http, pii="block")
    assert (status, error["code"], error["param"]) == (400, "pii_found", "pii")
    assert "1 of 1 examples" in error["message"]
    assert "ann" not in error["message"]
    assert list(client.files.list()) == []


def test_a_look_that_ends_without_a_word_makes_no_file(
    exporting: Api, client: openai.OpenAI, http: httpx.Client, screening: Screening
) -> None:
    store(client, "q")
    screening.dies = True
    try:
        assert refused(http, pii="warn")[0] == 503
    finally:
        screening.dies = False
    assert list(client.files.list()) == []
    assert list(exporting.services.settings.exports.iterdir()) == []


def test_a_file_is_no_larger_than_one_that_is_uploaded(client: openai.OpenAI, http: httpx.Client) -> None:
    for number in range(3):
        store(client, str(number) * 80_000)
    assert refused(http)[0] == 413
    assert export(http, filter={"model": MODEL, "ids": [one.id for one in client.chat.completions.list(limit=2).data]})


def test_a_retry_makes_no_second_file(client: openai.OpenAI, http: httpx.Client) -> None:
    store(client, "q")
    keyed = {"headers": {"idempotency-key": "k"}, "json": {"pii": "off"}}
    first, again = (http.post(PATH, **keyed) for _ in range(2))  # type: ignore[arg-type]  # of both kinds
    assert again.headers["idempotent-replayed"] == "true"
    retried = http.post(PATH, json={"pii": "off"}, headers={"x-stainless-retry-count": "1"})
    assert first.json() == again.json()
    assert len(list(client.files.list())) == 1 + (retried.json() != first.json())


def test_another_project_gets_nothing_of_it(exporting: Api, client: openai.OpenAI, http: httpx.Client) -> None:
    made = export(http, filter={"ids": [store(client, "mine")]})
    with exporting.http(exporting.foreign_key) as stranger:
        assert stranger.get(f"{PATH}/{made['id']}").status_code == 404
        status, error = refused(stranger, filter={"ids": [client.chat.completions.list().data[0].id]})
    assert (status, "finds 0 completions" in error["message"]) == (400, True)


def test_one_export_of_a_project_runs_at_a_time(exporting: Api, client: openai.OpenAI, http: httpx.Client) -> None:
    store(client, "q")
    held = exporting.services.locks.take("export of project", _project_of(exporting, client))
    assert held is not None
    with held:
        assert refused(http)[0] == 503
    assert export(http)["examples"] == 1


def _project_of(api: Api, client: openai.OpenAI) -> str:
    headers = [(b"authorization", f"Bearer {client.api_key}".encode())]
    return api.services.authenticator.authenticate(headers).project_id


def test_many_are_read_a_few_at_a_time(client: openai.OpenAI, http: httpx.Client) -> None:
    for number in range(205):
        store(client, str(number))
    made = export(http)
    assert questions(client, made) == [str(number) for number in range(205)]


def test_the_command_makes_a_file_too(
    exporting: Api, client: openai.OpenAI, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    """Without the look for personal data, which needs a process."""
    for number in (1, 1, 2):
        store(client, f"q{number}", metadata={"app": "x"})
    store(client, "another")
    project = next(row.project for row in list_keys(exporting.database) if key.endswith(row.hint[-4:]))
    words = ["completions", "export", "--home", str(exporting.services.settings.home), "--project", project]

    assert main([*words, "--metadata", "app=x", "--pii", "off", "--filename", "x.jsonl"]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    (file,) = client.files.list()
    assert (first, others) == (f"{file.id}: 2 examples of 3 completions", ["left out, duplicate: 1"])
    assert file.filename == "x.jsonl"

    assert main([*words, "--metadata", "app=y", "--pii", "off"]) == 1
    assert "nothing to make a file of" in capsys.readouterr().err
    assert main([*words[:-1], "nobody"]) == 1
    assert "there is no project nobody" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "--metadata", "app"])
