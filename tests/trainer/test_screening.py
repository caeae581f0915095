"""`python -m trainer screen`: chat examples, looked through for personal data and secrets."""

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.__main__ import main
from trainer.contract.run_directory import RunDirectory
from trainer.contract.screen import ScreenReport, ScreenSpec

MAIL = "ann@company.com"


def row(content: Any = "hello", arguments: str | None = None, **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = {"role": "assistant", "content": "yes"}
    if arguments is not None:
        function = {"name": "look_up", "arguments": arguments}
        answer = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": function}]}
    return {"messages": [{"role": "user", "content": content}, answer], **more}


def screened(directory: Path, *rows: dict[str, Any], redacts: bool = True) -> tuple[list[dict[str, Any]], ScreenReport]:
    run = RunDirectory(directory)
    run.training_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run.write_screen_spec(ScreenSpec(redacts=redacts))
    assert main(["screen", str(directory)]) == 0
    outcome = run.read_screen_outcome()
    assert outcome is not None
    assert outcome.report is not None, outcome.failure
    lines = run.screened.read_text().splitlines() if redacts else []
    return [json.loads(line) for line in lines], outcome.report


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (row(f"I am {MAIL}"), row("I am [EMAIL]")),
        (row([{"type": "text", "text": MAIL}]), row([{"type": "text", "text": "[EMAIL]"}])),
        (row(arguments=json.dumps({"to": MAIL, "n": 1})), row(arguments='{"to":"[EMAIL]","n":1}')),
        (row(tools=[{"function": {"description": MAIL}}]), row(tools=[{"function": {"description": "[EMAIL]"}}])),
    ],
    ids=["a text", "a part", "arguments", "a tool"],
)
def test_what_is_found_is_marked_and_counted(tmp_path: Path, given: Any, expected: Any) -> None:
    lines, report = screened(tmp_path, given, row())
    assert lines == [expected, row()]
    assert report == ScreenReport(n_examples=2, n_found=1, n_matches={"e-mail address": 1})


def test_a_line_in_which_nothing_is_found_stays_as_it_is_written(tmp_path: Path) -> None:
    written = '{"messages": [ {"role":"user", "content":"\\u0061"}, {"role": "assistant", "content": "b"} ]}'
    run = RunDirectory(tmp_path)
    run.training_file.write_text(written + "\n")
    run.write_screen_spec(ScreenSpec(redacts=True))
    assert main(["screen", str(tmp_path)]) == 0
    assert run.screened.read_text() == written + "\n"


def test_arguments_stay_json_and_keep_their_numbers(tmp_path: Path) -> None:
    arguments = '{"card": 4111111111111111, "id": 123456789012345678901234567890}'
    lines, report = screened(tmp_path, row(MAIL, arguments=arguments))
    assert lines[0]["messages"][1]["tool_calls"][0]["function"]["arguments"] == arguments
    assert report.n_matches == {"e-mail address": 1}


def test_without_redacting_it_only_counts(tmp_path: Path) -> None:
    _, report = screened(tmp_path, row(MAIL), row(MAIL), redacts=False)
    assert (report.n_found, report.n_matches) == (2, {"e-mail address": 2})
    assert not RunDirectory(tmp_path).screened.exists()


def test_a_file_that_cannot_be_read_is_a_failure_without_its_text(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.training_file.write_text("zebra\n")
    run.write_screen_spec(ScreenSpec(redacts=True))
    assert main(["screen", str(tmp_path)]) == 0
    outcome = run.read_screen_outcome()
    assert outcome is not None
    assert outcome.failure is not None
    assert "zebra" not in outcome.failure.message
