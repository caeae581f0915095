"""Files that a job cannot train on, or not on all of: what the job says of them, through the real worker."""

import json
from dataclasses import dataclass

import openai
import pytest
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

from tests.acceptance.jobs import create_job, events_of, small_file, upload, wait_until_ended
from tests.service import Service

CANARY = "quokka-7731-marmalade"  # in every file; in no message, event or log
GOOD = [
    {"messages": [{"role": "user", "content": f"{CANARY} {n}"}, {"role": "assistant", "content": CANARY}]}
    for n in range(12)
]
LONG = {"messages": [{"role": "user", "content": CANARY * 1000}, {"role": "assistant", "content": CANARY}]}
FILE_FAULT = "The job failed due to an invalid training file. Invalid file format. "


@dataclass(frozen=True)
class Case:
    training: bytes
    message: str  # the beginning of it
    code: str = "invalid_training_file"
    param: str = "training_file"
    validation: bytes | None = None


def lines(*values: object) -> bytes:
    return b"".join((value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n" for value in values)


def messages(*roles: str) -> dict[str, object]:
    return {"messages": [{"role": role, "content": CANARY} for role in roles]}


CASES = {
    "nine examples": Case(
        lines(*GOOD[:9]),
        "Training file has 9 example(s), but must have at least 10 examples",
        code="invalid_n_examples",
    ),
    "broken JSON": Case(
        lines(*GOOD[:6], b'{"messages": [' + CANARY.encode(), *GOOD[6:]),
        FILE_FAULT + "Line 7: The line is not valid JSON",
    ),
    "pretty-printed JSON": Case(
        lines(*(json.dumps(example, indent=2).encode() for example in GOOD)),
        FILE_FAULT + "Line 1: The file looks like pretty-printed JSON, an object over several lines. "
        "Write one JSON object per line (JSON Lines).",
    ),
    "a JSON array": Case(lines(GOOD), FILE_FAULT + "Line 1: The file is a JSON array. Write one JSON object per line"),
    "no assistant message": Case(
        lines(*GOOD[:2], messages("system", "user"), *GOOD[2:]),
        FILE_FAULT + 'Line 3, key "messages": At least one message must be from the assistant.',
    ),
    "unknown role": Case(
        lines(*GOOD, messages("human", "gpt")),
        FILE_FAULT + 'Line 13, key "messages[0].role": Unknown role; it must be one of system, developer, user, '
        'assistant, tool, function. "user" is the word for "human".',
    ),
    "not UTF-8": Case(
        lines(GOOD[0], json.dumps({"messages": f"{CANARY} é"}, ensure_ascii=False).encode("latin-1"), *GOOD),
        FILE_FAULT + "Line 2: The line is not UTF-8 (byte ",
    ),
    "UTF-16": Case(
        lines(*GOOD).decode().encode("utf-16"),
        FILE_FAULT + "Line 1: The file is not UTF-8 but UTF-16. Save it as UTF-8.",
    ),
    "white space alone": Case(b" \n\r\n\t", FILE_FAULT + "The file is empty."),
    "another format": Case(
        lines(*({"prompt": CANARY, "chosen": CANARY, "rejected": CANARY} for _ in range(10))),
        FILE_FAULT + "Input file is in the fine-tune-preference format, but the specified fine-tuning job is not using "
        "'dpo' or 'orpo' or 'simpo' as the training method (provided method=supervised).",
    ),
    "a bad validation file": Case(
        lines(*GOOD),
        "The job failed due to an invalid validation file. Invalid file format. Line 2: The line is not valid JSON",
        code="invalid_validation_file",
        param="validation_file",
        validation=lines(GOOD[0], b"{" + CANARY.encode()),
    ),
    "every answer beyond the context": Case(
        lines(*[LONG] * 10),
        "The job failed due to an invalid training file. None of its 10 example(s) can be used: within the context "
        "of 1024 tokens",
    ),
}


@pytest.fixture(scope="session")
def failed(service: Service, client: openai.OpenAI) -> dict[str, tuple[FineTuningJob, list[FineTuningJobEvent]]]:
    """Every case's job as it ended, with its events. All are made first, then waited for."""
    jobs = {
        name: create_job(client, case.training, validation=case.validation, n_epochs=1) for name, case in CASES.items()
    }
    ended = {name: wait_until_ended(service, client, job, timeout_s=120) for name, job in jobs.items()}
    return {name: (job, events_of(client, job.id)) for name, job in ended.items()}


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_cannot_be_trained_on_fails_its_job_and_the_job_says_why(
    failed: dict[str, tuple[FineTuningJob, list[FineTuningJobEvent]]], name: str
) -> None:
    case, (job, events) = CASES[name], failed[name]
    assert (job.status, job.fine_tuned_model) == ("failed", None)
    assert job.error is not None
    assert (job.error.code, job.error.param) == (case.code, case.param)
    assert job.error.message.startswith(case.message)
    assert (events[-1].level, events[-1].message) == ("error", job.error.message)
    assert "Fine-tuning job started" not in [event.message for event in events]


def test_nothing_of_a_files_text_is_in_a_message_or_a_log(
    service: Service, failed: dict[str, tuple[FineTuningJob, list[FineTuningJobEvent]]]
) -> None:
    for job, events in failed.values():
        assert CANARY not in job.model_dump_json()
        assert all(CANARY not in event.model_dump_json() for event in events)
    logs = [service.output_file, *service.home.glob("logs/*"), *service.home.glob("runs/**/*.log")]
    assert len(logs) > 2
    assert [log for log in logs if CANARY in log.read_text(errors="replace")] == []


def test_examples_whose_answer_lies_beyond_the_context_are_left_out_and_named(
    service: Service, client: openai.OpenAI
) -> None:
    job = create_job(client, lines(LONG) + small_file(10) + lines(LONG), n_epochs=1, batch_size=5)
    ended = wait_until_ended(service, client, job)
    assert ended.status == "succeeded"
    events = events_of(client, job.id)
    warnings = [event.message for event in events if event.level == "warn"]
    (warning,) = [message for message in warnings if "left out" in message]
    assert warning.startswith("2 example(s) of the training file are left out")
    assert "lines 1, 12." in warning
    assert [event.type for event in events].count("metrics") == 2  # of 10 examples, 5 a step


def test_an_empty_upload_is_refused_at_once(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="The file is empty") as caught:
        upload(client, b"")
    assert caught.value.param == "file"
