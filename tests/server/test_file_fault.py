"""Why a job cannot train on its files: OpenAI's code, the parameter, and words that say where and what to do."""

import json
from pathlib import Path

import pytest

from server.fine_tuning.lifecycle import Fail
from server.fine_tuning.validating.stage import find_fault
from server.vocabulary import JobErrorCode
from trainer.contract.run_directory import RunDirectory

GOOD = {"messages": [{"role": "user", "content": "zebra"}, {"role": "assistant", "content": "horse"}]}
LINE = json.dumps(GOOD).encode() + b"\n"
TEN = LINE * 10
INVALID = "The job failed due to an invalid {} file. "


def with_third(line: bytes) -> bytes:
    return LINE * 2 + line + b"\n" + LINE * 9


def example(*messages: dict[str, object]) -> bytes:
    return json.dumps({"messages": messages}).encode()


# Each content, and how the message goes on after OpenAI's words.
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "Invalid file format. The file is empty. Write one JSON object per line (JSON Lines)."),
    "blank": (b"\n \n", "Invalid file format. The file is empty. Write one JSON object per line (JSON Lines)."),
    "broken JSON": (
        with_third(b'{"messages": ['),
        "Invalid file format. Line 3: The line is not valid JSON (character 15). "
        "Write one JSON object per line (JSON Lines).",
    ),
    "pretty-printed": (
        json.dumps(GOOD, indent=2).encode(),
        "Invalid file format. Line 1: The file looks like pretty-printed JSON, an object over several lines. "
        "Write one JSON object per line (JSON Lines).",
    ),
    "one array": (
        json.dumps([GOOD] * 10).encode(),
        "Invalid file format. Line 1: The file is a JSON array. Write one JSON object per line (JSON Lines).",
    ),
    "not UTF-8": (
        with_third('{"messages": "é"}'.encode("latin-1")),
        "Invalid file format. Line 3: The line is not UTF-8 (byte 15). Save the file as UTF-8.",
    ),
    "UTF-16": (
        TEN.decode().encode("utf-16"),
        "Invalid file format. Line 1: The file is not UTF-8 but UTF-16. Save it as UTF-8.",
    ),
    "no assistant": (
        with_third(example({"role": "user", "content": "zebra"})),
        'Invalid file format. Line 3, key "messages": At least one message must be from the assistant.',
    ),
    "an unknown role": (
        with_third(example({"role": "robot", "content": "zebra"}, {"role": "assistant", "content": "horse"})),
        'Invalid file format. Line 3, key "messages[0].role": ',
    ),
    "no role": (
        with_third(example({"content": "zebra"}, {"role": "assistant", "content": "horse"})),
        "Invalid file format. Example 3, message 1 Discriminator 'role' is missing in value (line 3). "
        "Give each message a role.",
    ),
    "no messages": (
        with_third(b'{"text": "zebra"}'),
        "Unexpected file format, expected either prompt/completion pairs or chat messages. "
        'Line 3 has no key "messages".',
    ),
}


def fault(tmp_path: Path, training: bytes, validation: bytes | None = None) -> Fail | None:
    run = RunDirectory(tmp_path)
    for path, content in zip((run.training_file, run.validation_file), (training, validation), strict=True):
        if content is not None:
            path.write_bytes(content)
    return find_fault(run, "supervised")


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_training_file_is_named_by_line_and_remedy_without_its_text(tmp_path: Path, name: str) -> None:
    content, words = BAD_FILES[name]
    found = fault(tmp_path, content)
    assert found is not None
    assert (found.code, found.param) == (JobErrorCode.INVALID_TRAINING_FILE, "training_file")
    assert found.message.startswith(INVALID.format("training") + words)
    assert "zebra" not in found.message
    assert "horse" not in found.message


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_validation_file_is_told_apart_from_the_training_file(tmp_path: Path, name: str) -> None:
    content, words = BAD_FILES[name]
    found = fault(tmp_path, TEN, content)
    assert found is not None
    assert (found.code, found.param) == (JobErrorCode.INVALID_VALIDATION_FILE, "validation_file")
    assert found.message.startswith(INVALID.format("validation") + words)
    assert "zebra" not in found.message


def test_an_unknown_roles_message_names_the_roles_there_are(tmp_path: Path) -> None:
    found = fault(tmp_path, BAD_FILES["an unknown role"][0])
    assert found is not None
    for role in ("system", "user", "assistant", "tool"):
        assert role in found.message


@pytest.mark.parametrize("n_examples", [1, 9])
def test_fewer_than_ten_examples_have_openais_code_and_words(tmp_path: Path, n_examples: int) -> None:
    message = f"Training file has {n_examples} example(s), but must have at least 10 examples"
    expected = Fail(JobErrorCode.INVALID_N_EXAMPLES, message, "training_file")
    assert expected == fault(tmp_path, LINE * n_examples)


def test_a_broken_line_counts_before_a_small_number(tmp_path: Path) -> None:
    found = fault(tmp_path, LINE + b"{\n")
    assert found is not None
    assert found.code == JobErrorCode.INVALID_TRAINING_FILE


@pytest.mark.parametrize("training", [TEN, TEN.rstrip(b"\n"), b"\xef\xbb\xbf" + TEN, TEN.replace(b"\n", b"\r\n\r\n")])
def test_a_sound_file_has_no_fault(tmp_path: Path, training: bytes) -> None:
    assert fault(tmp_path, training) is None


def test_one_example_is_enough_to_validate_on(tmp_path: Path) -> None:
    assert fault(tmp_path, TEN, LINE) is None


def test_the_message_says_how_many_lines_are_wrong_and_which(tmp_path: Path) -> None:
    no_answer = example({"role": "user", "content": "zebra"}) + b"\n"
    found = fault(tmp_path, LINE * 2 + no_answer + LINE + b"\n" + b"{'zebra': 1}\n" + no_answer)
    assert found is not None
    assert found.message == (
        INVALID.format("training")
        + 'Invalid file format. Line 3, key "messages": At least one message must be from the assistant. '
        "2 more lines are wrong: 6, 7."
    )
    many = fault(tmp_path, TEN, no_answer * 30)
    assert many is not None
    assert many.message.endswith(f"29 more lines are wrong: {', '.join(map(str, range(2, 21)))} and 10 more.")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "completion": "b"},
        {"instruction": "a", "input": "b", "output": "c"},
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"system": "a", "messages": GOOD["messages"]},
    ],
    ids=["prompt/completion", "Alpaca", "ShareGPT", "Anthropic"],
)
def test_whatever_holds_conversations_can_be_trained_on(tmp_path: Path, row: dict[str, object]) -> None:
    line = json.dumps(row).encode() + b"\n"
    assert fault(tmp_path, line * 10, LINE) is None


def test_the_training_file_is_named_first_when_both_are_bad(tmp_path: Path) -> None:
    found = fault(tmp_path, b"", b"")
    assert found is not None
    assert found.param == "training_file"
