"""The data gate over files with planted faults and over sound ones: the code path of `python -m trainer check`."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support_desk_task import build_task
from trainer_runs import MARKED_TEMPLATE, PLAIN_TEMPLATE, make_tokenizer, write_lines

from tests.gate_corpus import Case, Clean, clean_cases, planted_cases
from trainer.check import look_through
from trainer.contract.report import CheckReport, Severity, Task
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource, CheckSpec, MethodName, PiiPolicy
from trainer.failures import FileUnusable
from trainer.gate.clusters import find_alike
from trainer.gate.evenly import take_evenly
from trainer.gate.signatures import shingles, sign
from trainer.tokenizer import ChatTokenizer, load_chat_tokenizer

PLANTED, CLEAN = planted_cases(), clean_cases()
SOUND = next(case for case in CLEAN if case.name == "labels")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    """Its pad token is its stop token."""
    texts = [message["content"] or "" for case in CLEAN[3:6] for row in case.training for message in row["messages"]]
    directory = make_tokenizer(tmp_path_factory.mktemp("base"), texts=texts, vocabulary=1000)
    return load_chat_tokenizer(BaseModelSource(source=str(directory)))


def look(
    root: Path,
    tokenizer: ChatTokenizer,
    training: list[dict[str, Any]],
    validation: list[dict[str, Any]] | None = None,
    *,
    pii: PiiPolicy = "warn",
    context_tokens: int = 4096,
    method: MethodName = "supervised",
) -> CheckReport:
    run = RunDirectory(root)
    write_lines(run.training_file, training)
    if validation:
        write_lines(run.validation_file, validation)
    spec = CheckSpec(
        job_id="ftjob-test",
        base_model=BaseModelSource(source="unread"),
        method=method,
        context_length_tokens=context_tokens,
        pii=pii,
    )
    return look_through(run, spec, tokenizer)


@pytest.mark.parametrize("case", PLANTED, ids=[case.name for case in PLANTED])
def test_a_planted_fault_is_found_on_its_lines(case: Case, tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    options = {"pii": case.pii, "context_tokens": case.context_tokens, "method": case.method}
    report = look(tmp_path, tokenizer, case.training, case.validation, **options)
    found = [finding for finding in report.findings if (finding.check, finding.file) == (case.check, case.file)]
    expected = (case.severity, case.lines, len(case.lines) if case.n_lines is None else case.n_lines)
    assert [(finding.severity, finding.lines, finding.n_lines) for finding in found] == [expected], report.findings


@pytest.mark.parametrize("case", CLEAN, ids=[case.name for case in CLEAN])
def test_a_sound_file_brings_no_warning(case: Clean, tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    report = look(tmp_path, tokenizer, case.training, case.validation, method=case.method)
    assert [finding for finding in report.findings if finding.severity != Severity.INFO] == []
    assert report.training is not None
    assert report.training.figures is not None
    assert sum(report.training.figures.tokens.counts) == len(case.training)


def test_the_demo_task_brings_no_warning_but_true_ones(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    task = build_task(seed=7)
    training, validation = (
        [json.loads(question.example()) for question in part] for part in (task.training, task.validation)
    )
    report = look(tmp_path, tokenizer, training, validation)
    assert [finding for finding in report.findings if finding.severity != Severity.INFO] == []
    assert report.training is not None
    assert report.training.figures is not None
    figures = report.training.figures
    assert (figures.task, figures.n_classes) == (Task.CLASSIFICATION, 6)
    assert sum(found.n_examples for found in figures.classes) == len(training)


def test_no_text_of_a_file_is_in_its_report(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    def marked(row: dict[str, Any]) -> dict[str, Any]:
        messages = [{**message, "content": f"zebra {message['content']}"} for message in row["messages"]]
        return {"messages": messages}

    found = set()
    for number, case in enumerate(PLANTED[:45:3]):
        (tmp_path / str(number)).mkdir()
        rows = [marked(row) for row in case.training]
        report = look(tmp_path / str(number), tokenizer, rows, case.validation, context_tokens=case.context_tokens)
        found |= {finding.check for finding in report.findings}
        assert "zebra" not in report.model_dump_json()
    assert len(found) > 5


def test_a_tokenizer_that_splits_the_stop_token_is_an_error(tmp_path: Path) -> None:
    """Its template ends a turn with the word of the stop token, which it does not know as one token."""
    directory = make_tokenizer(tmp_path / "base")
    file = json.loads((directory / "tokenizer.json").read_text())
    file["added_tokens"] = [token for token in file["added_tokens"] if token["content"] != "<|im_end|>"]
    file["model"]["vocab"]["<|im_end|>"] = file["model"]["vocab"].pop("<|im_end|>")
    (directory / "tokenizer.json").write_text(json.dumps(file))
    settings = json.loads((directory / "tokenizer_config.json").read_text())
    settings |= dict.fromkeys(["eos_token", "pad_token"], "<|endoftext|>")
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": 2}))
    splitting = load_chat_tokenizer(BaseModelSource(source=str(directory)))
    report = look(tmp_path, splitting, SOUND.training)
    (found,) = [finding for finding in report.findings if finding.check == "stop_token"]
    assert (found.severity, found.n_lines) == (Severity.ERROR, 150)


@pytest.mark.parametrize("template", [MARKED_TEMPLATE, PLAIN_TEMPLATE], ids=["with markers", "without markers"])
@pytest.mark.parametrize("eos", ["<|im_end|>", "<|endoftext|>"])
def test_where_the_pad_token_is_a_stop_token_the_answers_end_is_trained_all_the_same(
    tmp_path: Path, template: str, eos: str
) -> None:
    """Pad = eos in every tokenizer here; masking by the pad token would take the stop token out of the mask."""
    directory = make_tokenizer(tmp_path / "base", template=template.replace("<|im_end|>", eos), eos=eos)
    tokenizer = load_chat_tokenizer(BaseModelSource(source=str(directory)))
    assert tokenizer.tokenizer.pad_token_id == tokenizer.tokenizer.eos_token_id
    report = look(tmp_path, tokenizer, SOUND.training)
    assert [finding for finding in report.findings if finding.check.startswith("stop_token")] == []


def test_nothing_but_tokens_is_left_in_the_run_directory_also_when_a_line_is_wrong(
    tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    left = {"training.jsonl", "validation.jsonl", "training.tokens", "validation.tokens"}
    look(tmp_path, tokenizer, SOUND.training, SOUND.validation)
    assert {path.name for path in tmp_path.iterdir()} == left
    with pytest.raises(FileUnusable, match="Line 151"):
        look(tmp_path, tokenizer, [*SOUND.training, {"messages": []}])
    assert {path.name for path in tmp_path.iterdir()} == left


@pytest.mark.parametrize("n_rows", [1, 2, 9, 10, 255, 256, 257])
def test_files_of_any_length_get_a_report(tokenizer: ChatTokenizer, tmp_path: Path, n_rows: int) -> None:
    rows = [{"messages": [{"role": "assistant", "content": ""}]}] * n_rows
    report = look(tmp_path, tokenizer, rows, rows)
    assert report.training is not None
    assert report.training.n_examples == n_rows
    found = {(finding.check, finding.file): finding for finding in report.findings}
    assert found["empty_outputs", "training"].n_lines == n_rows
    assert found["overlap", "validation"].n_lines == n_rows
    assert (("too_few_examples", "training") in found) == (n_rows < 200)


def test_texts_are_alike_by_the_share_of_their_word_triples() -> None:
    words = [f"w{number}" for number in range(400)]
    texts = [" ".join(words), " ".join([*words[:390], *"abcdefghij"]), " ".join([*words[:200], *map(str, range(200))])]
    signed = sign(shingles(text) for text in texts)
    shares = [float((signed[0] == signed[number]).mean()) for number in range(3)]
    assert shares[0] == 1
    assert shares[1] > 0.9
    assert 0.15 < shares[2] < 0.55
    assert find_alike(signed, threshold=0.85).tolist() == [0, 0, 2]


def test_a_sample_is_even_and_of_bounded_size() -> None:
    assert take_evenly(range(0)) == []
    assert take_evenly(range(512)) == list(range(512))
    for n in (513, 1000, 5000, 100_000):
        taken = take_evenly(range(n))
        steps = {later - earlier for earlier, later in pairwise(taken)}
        assert 256 <= len(taken) <= 512
        assert len(steps) == 1
