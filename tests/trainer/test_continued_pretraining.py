"""Continued pre-training: every token of plain text, none lost, by the library's own loss."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import FAMILIES, write_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from trainer_runs import checkpoints_saved, events, make_run, make_spec, progress, train_here, write_lines

from tests.method_rows import KeepRow
from trainer.check import look_through
from trainer.contract.events import Succeeded
from trainer.contract.report import CheckReport, Severity
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import CheckSpec, ContinuedPretrainingMethod, TrainingSpec, WantedSelection
from trainer.dataset import DocumentPieces, TokenizedExamples, tokenize_files
from trainer.pieces import count_pieces, piece
from trainer.tokenizer import ChatTokenizer, load_chat_tokenizer

WORDS = ("the answer", "is what", "the user", "and system", "to that", "assistant of", "a what", "in the")


def text(index: int, *, n_words: int = 12) -> dict[str, str]:
    """All different, and in an order that can be learnt."""
    start = index % len(WORDS)
    return {"text": " ".join(WORDS[(start + offset) % len(WORDS)] for offset in range(n_words)) + f" {index}"}


def spec_of(base: Path, **overrides: Any) -> TrainingSpec:
    method = {"n_epochs": 4, "batch_size": 4, "learning_rate": 1e-2, **overrides.pop("method", {})}
    settled = {"warmup_ratio": 0.05, "weight_decay": 0.01, "max_grad_norm": 1.0}
    return make_spec(base).model_copy(
        update={"method": ContinuedPretrainingMethod(**{**settled, **method}), "checkpoint_every_steps": 0, **overrides}
    )


def run_of(root: Path, spec: TrainingSpec, rows: list[dict[str, str]], held_out: list[dict[str, str]]) -> RunDirectory:
    run = make_run(root, spec)
    write_lines(run.training_file, rows)
    if held_out:
        write_lines(run.validation_file, held_out)
    return run


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> ChatTokenizer:
    return load_chat_tokenizer(make_spec(base).base_model)


def tokenize(tokenizer: ChatTokenizer, root: Path, *rows: dict[str, str], limit: int) -> TokenizedExamples:
    write_lines(root / "training.jsonl", rows)
    method = "continued_pretraining"
    return tokenize_files(RunDirectory(root), tokenizer, method=method, context_length_tokens=limit)[0]


def look(tokenizer: ChatTokenizer, root: Path, limit: int, **more: Any) -> CheckReport:
    spec = CheckSpec(
        job_id="ftjob-test",
        base_model=make_spec(root).base_model,
        method="continued_pretraining",
        context_length_tokens=limit,
        **more,
    )
    return look_through(RunDirectory(root), spec, tokenizer)


@given(st.integers(2, 500), st.integers(2, 60))
def test_each_token_but_the_first_is_predicted_once_and_sees_another(n_tokens: int, limit: int) -> None:
    (count,) = count_pieces(np.array([n_tokens]), limit).tolist()
    pieces = [list(range(n_tokens))[piece(number, limit)] for number in range(count)]
    assert [token for part in pieces for token in part[1:]] == list(range(1, n_tokens))
    assert all(2 <= len(part) <= limit for part in pieces)
    assert all(before[-1] == after[0] for before, after in pairwise(pieces))


def test_a_document_is_all_of_its_tokens_and_the_end_of_a_text(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    file = tokenize(tokenizer, tmp_path, {"text": "the answer"}, {"text": "user \u00e4"}, limit=100)
    end = tokenizer.tokenizer.eos_token
    assert [tokenizer.tokenizer.decode(one.input_ids_L) for one in file] == [f"the answer{end}", f"user \u00e4{end}"]
    assert [one.trained_L.tolist() for one in file] == [[False] + [True] * (len(one.input_ids_L) - 1) for one in file]


def test_a_document_begins_as_the_tokenizer_begins_a_text(tmp_path: Path) -> None:
    """Llama's adds a token there, which its chat template writes itself."""
    backend = write_tokenizer(FAMILIES["llama3"], tmp_path)
    begin = "<|begin_of_text|>"
    backend.post_processor = TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, backend.token_to_id(begin))]
    )
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_chat_tokenizer(make_spec(tmp_path).base_model)
    (document,) = tokenize(tokenizer, tmp_path, {"text": "so it is"}, limit=100)
    assert tokenizer.tokenizer.decode(document.input_ids_L) == f"{begin}so it is<|eot_id|>"


def test_a_long_document_is_split_and_loses_no_token(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    rows = [text(0, n_words=3), text(1, n_words=60), text(2, n_words=3)]
    whole = tokenize(tokenizer, tmp_path, *rows, limit=10_000)
    split = tokenize(tokenizer, tmp_path, *rows, limit=16)
    assert isinstance(split, DocumentPieces)
    assert len(whole) == 3 < len(split)
    trained = [int(token) for one in split for token in one.input_ids_L[one.trained_L]]
    assert trained == [int(token) for one in whole for token in one.input_ids_L[1:]]
    assert max(len(one.input_ids_L) for one in split) == 16


def test_the_check_counts_what_is_trained_on(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    file = tokenize(tokenizer, tmp_path, *(text(index, n_words=10 + index) for index in range(12)), limit=16)
    report = look(tokenizer, tmp_path, 16).training
    assert report is not None
    assert report.n_examples == len(file) > 12
    assert report.n_tokens == sum(len(one.input_ids_L) for one in file)
    assert report.n_trained_tokens == sum(one.n_trained_tokens for one in file)
    assert (report.truncated_lines, report.dropped_lines) == ((), ())


def test_the_gate_finds_what_texts_can_have_and_leaves_out_what_is_of_conversations(
    tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    rows = [
        text(1),
        text(1),
        *(text(index, n_words=20) for index in range(30)),
        {"text": "write to jane.doe@harbour-mail.com"},
    ]
    write_lines(tmp_path / "training.jsonl", rows)
    write_lines(tmp_path / "validation.jsonl", [rows[3]])
    checks = {finding.check for finding in look(tokenizer, tmp_path, 64, pii="warn").findings}
    assert {"duplicates", "personal_data", "overlap"} <= checks
    assert checks <= {"duplicates", "near_duplicates", "personal_data", "overlap", "near_overlap"}


def test_one_document_will_do_if_it_is_long_enough(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    write_lines(tmp_path / "training.jsonl", [text(1, n_words=40)])
    assert look(tokenizer, tmp_path, 12).findings == ()
    (finding,) = look(tokenizer, tmp_path, 200).findings
    assert (finding.check, finding.severity) == ("too_few_examples", Severity.ERROR)
    assert "Training file has 1 example(s), but must have at least 10 examples" in finding.message


def test_documents_are_held_out_whole(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    write_lines(tmp_path / "training.jsonl", [{"text": f"{index} {index + 7} " * 20} for index in range(12)])
    wanted = WantedSelection(seed=1, holdout=0.25)
    report = look(tokenizer, tmp_path, 16, selection=wanted)
    training, held_out = tokenize_files(
        RunDirectory(tmp_path), tokenizer, method="continued_pretraining", context_length_tokens=16, selection=wanted
    )
    assert held_out is not None
    assert report.training is not None
    assert report.validation is not None
    assert (report.training.n_examples, report.validation.n_examples) == (len(training), len(held_out))
    assert report.training.n_tokens == sum(len(one.input_ids_L) for one in training)


@pytest.mark.trainer
def test_the_first_loss_is_the_librarys_own(base: Path, tmp_path: Path, keep_row: KeepRow) -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    rows = [text(index, n_words=4 + index) for index in range(4)]
    run = train_here(run_of(tmp_path / "run", spec_of(base, method={"n_epochs": 1}), rows, []))
    config = SFTConfig(
        output_dir=str(tmp_path / "trl"),
        max_steps=1,
        per_device_train_batch_size=4,
        max_length=256,
        logging_steps=1,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    model = AutoModelForCausalLM.from_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    trl = SFTTrainer(model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    trl.train()
    losses = progress(run)[0].metrics.train_loss, trl.state.log_history[0]["loss"]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    keep_row("continued_pretraining", "lora", first_step_loss=f"{abs(losses[0] - losses[1]):.0e} apart")


@pytest.mark.trainer
@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
def test_it_learns_texts_it_has_not_seen(base: Path, tmp_path: Path, packing: bool, keep_row: KeepRow) -> None:
    rows = [text(5 * index, n_words=10 + index % 30) for index in range(24)]
    spec = spec_of(base, packing=packing, context_length_tokens=48, method={"early_stopping_patience": 3})
    run = train_here(run_of(tmp_path / "run", spec, rows, [text(5 * index + 2, n_words=20) for index in range(6)]))
    losses = [saved.metrics.full_valid_loss for saved in checkpoints_saved(run)]
    assert isinstance(events(run)[-1], Succeeded)
    assert (run.adapter / "golden_samples.json").exists()
    assert losses[-1] is not None
    assert losses[0] is not None
    assert losses[-1] < losses[0] - 0.1
    steps = f"{len(progress(run))} steps"
    keep_row("continued_pretraining", "lora", trains=steps, effect=f"loss {losses[0]:.2f} to {losses[-1]:.2f}")
