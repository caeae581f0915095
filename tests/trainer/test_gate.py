"""The data gate over files with planted faults and over sound ones: the code path of `python -m trainer check`."""

from pathlib import Path
from typing import Any

import pytest
from trainer_runs import make_tokenizer, write_lines

from tests.gate_corpus import Case, Clean, clean_cases, planted_cases
from trainer.check import look_through
from trainer.contract.report import CheckReport, Severity
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource, CheckSpec, PiiPolicy
from trainer.tokenizer import ChatTokenizer, load_chat_tokenizer

PLANTED, CLEAN = planted_cases(), clean_cases()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    """Its pad token is its stop token."""
    texts = [message["content"] or "" for case in CLEAN[:5] for row in case.training for message in row["messages"]]
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
) -> CheckReport:
    run = RunDirectory(root)
    write_lines(run.training_file, training)
    if validation:
        write_lines(run.validation_file, validation)
    source = BaseModelSource(source="unread")
    spec = CheckSpec(job_id="ftjob-test", base_model=source, context_length_tokens=context_tokens, pii=pii)
    return look_through(run, spec, tokenizer)


@pytest.mark.parametrize("case", PLANTED, ids=[case.name for case in PLANTED])
def test_a_planted_fault_is_found_on_its_lines(case: Case, tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    report = look(tmp_path, tokenizer, case.training, case.validation, pii=case.pii, context_tokens=case.context_tokens)
    found = [finding for finding in report.findings if (finding.check, finding.file) == (case.check, case.file)]
    expected = (case.severity, case.lines, len(case.lines) if case.n_lines is None else case.n_lines)
    assert [(finding.severity, finding.lines, finding.n_lines) for finding in found] == [expected], report.findings


@pytest.mark.parametrize("case", CLEAN, ids=[case.name for case in CLEAN])
def test_a_sound_file_brings_no_warning(case: Clean, tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    report = look(tmp_path, tokenizer, case.training, case.validation)
    assert [finding for finding in report.findings if finding.severity != Severity.INFO] == []
    assert report.training is not None
    assert report.training.figures is not None
    assert sum(report.training.figures.tokens.counts) == len(case.training)
