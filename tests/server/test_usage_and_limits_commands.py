"""`tunesmith usage` and `tunesmith projects limits`, and what a running API makes of the latter."""

import socket
from pathlib import Path

import pytest

from server.__main__ import main
from server.auth.api_keys import create_key
from server.commands.repository import set_limits
from server.metering.journal import Journal
from server.metering.meter import Meter
from server.relay.accounts import Usage
from server.starting import listen
from tests.running_api import Api, make_settings

QUESTION = {"model": "tunesmith-demo", "messages": [{"role": "user", "content": "Hello"}]}


def _run(api: Api, *words: str) -> int:
    return main([*words, "--home", str(api.services.settings.home)])


def test_usage_is_shown_by_project_and_model(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    key = create_key(api.database, "of the usage command").plaintext
    headers = [(b"authorization", b"Bearer " + key.encode())]
    project_id = api.services.authenticator.authenticate(headers).project_id
    meter = Meter(Journal(api.services.settings.usage))
    asked = {"project_id": project_id, "key_id": "key_1", "model": "gpt-4o-mini", "base_model": "tunesmith-demo"}
    meter.begin(**asked).finish(Usage(10, 7, 3))
    meter.begin(**asked).cut()
    meter.close()

    assert _run(api, "usage", "--since", "1h") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("of the usage command")]
    assert line.split()[-7:] == ["gpt-4o-mini", "tunesmith-demo", "2", "1", "10", "3", "7"]

    assert _run(api, "usage", "--since", "2020-01-01", "--until", "2021-01-01T12:00") == 0
    assert "of the usage command" not in capsys.readouterr().out


@pytest.mark.parametrize("words", [("--since", "soon"), ("--since", "7y"), ("--until", "2026-13-01")])
def test_a_time_that_is_none_is_refused(api: Api, words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _run(api, "usage", *words)

    assert "must be like 2026-11-26" in capsys.readouterr().err


def test_limits_of_a_project_are_set_lifted_and_shown(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    create_key(api.database, "limited")
    limits = "projects", "limits", "limited"

    assert _run(api, *limits, "--requests-per-minute", "600", "--tokens-per-minute", "unlimited") == 0
    assert _run(api, *limits, "--requests-per-minute", "60") == 0
    capsys.readouterr()
    assert _run(api, *limits) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert shown == [
        ["requests-per-minute", "60", "unlimited"],
        ["tokens-per-minute", "unlimited", "unlimited"],
        ["concurrent-answers", "default", "512"],
    ]

    assert _run(api, *limits, "--requests-per-minute", "default") == 0
    assert "requests-per-minute  default" in capsys.readouterr().out


@pytest.mark.parametrize("limit", ["0", "-1", "many", "1.5", "99999999999"])
def test_a_limit_that_is_none_is_refused(api: Api, limit: str) -> None:
    with pytest.raises(SystemExit):
        _run(api, "projects", "limits", "default", f"--requests-per-minute={limit}")


def test_limits_of_a_project_that_is_not_there_are_one_line_on_stderr(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(api, "projects", "limits", "nobody", "--tokens-per-minute", "9") == 1
    assert "there is no project nobody" in capsys.readouterr().err


def test_a_changed_limit_holds_from_the_next_request_on(api: Api) -> None:
    key = create_key(api.database, "changing").plaintext
    seen = []
    with api.http(key) as http:
        for limit in (None, 600, 300):
            set_limits(api.database, "changing", {"requests_per_minute": limit})
            seen.append(http.post("/v1/chat/completions", json=QUESTION).headers.get("x-ratelimit-limit-requests"))

    assert seen == [None, "600", "300"]


def test_a_connection_has_the_time_after_which_a_client_that_takes_nothing_is_hung_up_on(tmp_path: Path) -> None:
    with (
        listen(make_settings(tmp_path, port=0, stalled_client_s=12.5)) as (listener,),
        socket.create_connection(listener.getsockname()[:2]),
        listener.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 12_500
