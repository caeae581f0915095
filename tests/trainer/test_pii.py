"""Personal data and secrets: what is taken for them, what is not, and what stands in their place."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from trainer_runs import events, finish, make_run, make_spec, make_tokenizer, user, write_lines

from trainer.check import look_through
from trainer.contract.events import Succeeded
from trainer.contract.examples import ChatExample, read_examples
from trainer.contract.invalid import ExampleInvalid
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource, CheckSpec
from trainer.dataset import TokenizedExamples, tokenize_files
from trainer.pii.examples import PiiTally, redact
from trainer.pii.finding import find_pii, redacted
from trainer.pii.match import Kind
from trainer.tokenizer import load_chat_tokenizer

KEY = "A" * 12 + "bC3" * 8
FOUND: list[tuple[str, str]] = [
    ("write to anna.lee@acme-tools.io, please", "write to [EMAIL], please"),
    ("<ANNA+x@Mail.Acme.co.uk>", "<[EMAIL]>"),
    ("call +49 30 901820 now", "call [PHONE] now"),
    ("(650) 253-0000 or 650-253-0000", "[PHONE] or [PHONE]"),
    ("card 4111 1111 1111 1111, 5555555555554444", "card [CREDIT_CARD], [CREDIT_CARD]"),
    ("to DE89 3704 0044 0532 0130 00", "to [IBAN]"),
    ("GB82WEST12345698765432", "[IBAN]"),
    ("SSN 536-90-4399", "SSN [NATIONAL_ID]"),
    ("CPF 390.533.447-05", "CPF [NATIONAL_ID]"),
    ("DNI 54362315-K, NIE X2482300W", "DNI [NATIONAL_ID], NIE [NATIONAL_ID]"),
    ("NIR 2 95 10 99 126 111 93", "NIR [NATIONAL_ID]"),
    ("Aadhaar 2341 2341 2346", "Aadhaar [NATIONAL_ID]"),
    ("身份证 360426199101010071。", "身份证 [NATIONAL_ID]。"),
    ("from 8.8.4.4:53 and 2001:4860:4860::8888", "from [IP_ADDRESS]:53 and [IP_ADDRESS]"),
    ("AKIAIOSFODNN7EXAMPLE", "[API_KEY]"),
    (f"sk-proj-{KEY} ghp_{KEY} AIza{KEY[:35]}", "[API_KEY] [API_KEY] [API_KEY]"),
    ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nbye", "[PRIVATE_KEY]\nbye"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEcut", "[PRIVATE_KEY]"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w", "[JWT]"),
]
NOT_FOUND = [
    "",
    "you@example.com, a@b.test, @anna, me @ home, a@b",
    "on 12.03.2025 at 10:30:00, order 20240117123456, pi 3.14159265358979",
    "4111 1111 1111 1112 and 1234567890123456",
    "DE89 3704 0044 0532 0130 01",
    "000-12-3456 and 54362315-A",
    "555-1234, +1, +++, (212)",
    "192.168.0.1, 10.0.0.1, 127.0.0.1, 999.1.1.1, ::1, 12:34:56, version 1.2.3.4",
    "sk-learn, ask-me, AKIA, hf_model, eyJ.a.b, BEGIN PRIVATE KEY",
    "日本語だけの文章です。",
    "\x00\u2028" * 50,
]


@pytest.mark.parametrize(("text", "expected"), FOUND, ids=[expected[:40] for _, expected in FOUND])
def test_what_is_found_is_replaced_by_a_marker(text: str, expected: str) -> None:
    assert redacted(text, find_pii(text)) == expected


@pytest.mark.parametrize("text", NOT_FOUND)
def test_what_only_looks_alike_is_left_alone(text: str) -> None:
    assert find_pii(text) == []


def test_a_long_text_is_looked_through_to_its_end() -> None:
    text = "word 12 " * 5000 + "anna@acme-tools.io " + "1 2 3 4 " * 5000 + "4111 1111 1111 1111"
    assert [match.kind for match in find_pii(text)] == [Kind.EMAIL, Kind.CREDIT_CARD]


def test_arguments_too_deep_to_be_looked_through_are_refused_by_their_place() -> None:
    row = conversation("anna@acme-tools.io")
    row["messages"][2]["tool_calls"][0]["function"]["arguments"] = '{"a":' * 101 + "1" + "}" * 101
    with pytest.raises(ExampleInvalid, match=r"messages\[2\]\.tool_calls\[0\]\.function\.arguments.*100 levels"):
        read(row)


def conversation(mail: str) -> dict[str, Any]:
    call = {"id": mail, "type": "function", "function": {"name": "send", "arguments": json.dumps({"to": [mail]})}}
    parameters = {"type": "object", "description": f"such as {mail}"}
    return {
        "messages": [
            {"role": "system", "content": f"You are {mail}."},
            user(f"I am {mail}."),
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": mail, "content": f'"{mail}"'},
            {"role": "assistant", "content": f"Sent to {mail} and {mail}."},
        ],
        "tools": [{"type": "function", "function": {"name": "send", "parameters": parameters}}],
    }


def read(*rows: object) -> list[ChatExample]:
    return list(read_examples([json.dumps(row).encode() + b"\n" for row in rows]))


def test_every_text_of_an_example_is_redacted_and_counted_and_names_and_ids_are_not_touched() -> None:
    mail = "anna@acme-tools.io"
    (example,) = read(conversation(mail))
    tally = PiiTally()
    changed = redact(example, tally)
    shown = repr((changed.messages, changed.tools))
    assert shown.count("[EMAIL]") == 7
    assert shown.count(mail) == 2  # the id of the call, twice
    assert (tally.n_examples, tally.n_matches, list(tally.lines[Kind.EMAIL])) == (1, Counter({Kind.EMAIL: 7}), [1])
    assert redact(changed) is changed


def count_tokens(file: TokenizedExamples) -> int:
    return sum(len(example.input_ids_L) for example in file)


def test_the_check_and_the_run_tokenise_the_same_redacted_text(tmp_path: Path) -> None:
    rows = [conversation(f"anna{number}@acme-tools.io") for number in range(12)]
    run = RunDirectory(tmp_path / "run")
    run.root.mkdir()
    write_lines(run.training_file, rows)
    source = BaseModelSource(source=str(make_tokenizer(tmp_path / "base")))
    tokenizer = load_chat_tokenizer(source)
    spec = CheckSpec(job_id="ftjob-test", base_model=source, context_length_tokens=1000, pii="redact")
    report = look_through(run, spec, tokenizer).training
    trained, _ = tokenize_files(run, tokenizer, context_length_tokens=1000, redacts=True)
    assert report is not None
    assert report.figures is not None
    assert (report.n_tokens, report.n_trained_tokens) == (
        count_tokens(trained),
        sum(e.n_trained_tokens for e in trained),
    )
    assert report.figures.n_redacted == 12
    text = "".join(tokenizer.tokenizer.decode(example.input_ids_L) for example in trained)
    assert "[EMAIL]" in text
    assert "Sent to [EMAIL] and [EMAIL]." in text
    as_it_is, _ = tokenize_files(run, tokenizer, context_length_tokens=1000)
    assert count_tokens(as_it_is) != report.n_tokens


@pytest.mark.trainer
@pytest.mark.timeout(300)
def test_a_run_trains_on_the_text_that_was_checked(base: Path, tmp_path: Path) -> None:
    spec = make_spec(base, pii="redact", method={"n_epochs": 1})
    run = make_run(tmp_path / "run", spec)
    rows = [
        {"messages": [user(f"who is {n}?"), {"role": "assistant", "content": f"a{n}@acme-tools.io"}]} for n in range(12)
    ]
    write_lines(run.training_file, rows)
    assert finish(run) == 0, run.log.read_text()
    check = run.read_check_spec().model_copy(update={"pii": "redact"})
    report = look_through(run, check, load_chat_tokenizer(spec.base_model)).training
    succeeded = events(run)[-1]
    assert isinstance(succeeded, Succeeded)
    assert report is not None
    assert succeeded.trained_tokens == report.n_tokens
