"""What was tokenised once is not tokenised again, and only what is whole and of the same things is taken for it."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trainer_runs import MARKED_TEMPLATE, assistant, example, make_tokenizer, user, write_lines

from trainer.check import look_through
from trainer.contract.checkpoint import is_complete
from trainer.contract.report import CheckReport
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource, CheckSpec, PiiPolicy
from trainer.contract.tokens import read_summary
from trainer.dataset import tokenize_files
from trainer.failures import FileUnusable
from trainer.token_arrays import Tokens, TokenWriter
from trainer.tokenising import tokenize_in_batches
from trainer.tokenizer import ChatTokenizer, load_chat_tokenizer

N_ROWS = 300  # more than one batch
ROWS = [example(index) for index in range(N_ROWS - 1)] + [{"messages": [user("mail a@acme-tools.io"), assistant("ok")]}]
LIMIT = 40


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokenizer(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> ChatTokenizer:
    return load(base)


def load(base: Path) -> ChatTokenizer:
    return load_chat_tokenizer(BaseModelSource(source=str(base)))


def make_run(root: Path, rows: list[dict[str, Any]] = ROWS) -> RunDirectory:
    root.mkdir()
    run = RunDirectory(root)
    write_lines(run.training_file, rows)
    return run


def check(run: RunDirectory, tokenizer: ChatTokenizer, *, pii: PiiPolicy = "warn", limit: int = LIMIT) -> CheckReport:
    source = BaseModelSource(source="unread")
    return look_through(
        run, CheckSpec(job_id="ftjob-test", base_model=source, context_length_tokens=limit, pii=pii), tokenizer
    )


def n_tokenised(report: CheckReport) -> int:
    assert report.training is not None
    return report.training.n_tokenised


def offer(made: RunDirectory, to: RunDirectory) -> Path:
    """As the server does: under the key it was made for."""
    tokens = made.tokens(made.training_file)
    summary = read_summary(tokens)
    assert summary is not None
    offered = to.offered_tokens(to.training_file) / summary.key.name
    offered.mkdir(parents=True)
    for path in tokens.iterdir():
        (offered / path.name).hardlink_to(path)
    return offered


def test_the_arrays_hold_what_tokenising_gives(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert n_tokenised(check(run, tokenizer)) == N_ROWS
    file, _ = tokenize_files(run, tokenizer, context_length_tokens=10_000)
    direct = [whole for batch in tokenize_in_batches(run.training_file, tokenizer, "training") for whole in batch]
    assert len(file) == len(direct)
    for kept, whole in zip(file, direct, strict=True):
        np.testing.assert_array_equal(kept.input_ids_L, whole.tokens[0].input_ids_L)
        np.testing.assert_array_equal(kept.trained_L, whole.tokens[0].trained_L)
    lines = np.fromfile(run.tokens(run.training_file) / "lines", np.uint32)
    assert lines.tolist() == [whole.example.line for whole in direct]


def test_the_next_check_takes_what_it_is_offered_and_finds_the_same(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "first"), make_run(tmp_path / "second")
    anew = check(first, tokenizer)
    offered = offer(first, second)
    inode = (offered / "ids").stat().st_ino
    again = check(second, tokenizer)
    assert (n_tokenised(anew), n_tokenised(again)) == (N_ROWS, 0)
    assert (second.tokens(second.training_file) / "ids").stat().st_ino == inode
    assert anew.training is not None
    assert again == anew.model_copy(update={"training": anew.training.model_copy(update={"n_tokenised": 0})})


def test_a_cut_at_another_length_needs_no_other_arrays(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "first"), make_run(tmp_path / "second")
    check(first, tokenizer, limit=LIMIT)
    offer(first, second)
    assert n_tokenised(check(second, tokenizer, limit=2 * LIMIT)) == 0


def test_a_run_tokenises_nothing_that_its_check_has_tokenised(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    check(run, tokenizer)
    before = {path.name: path.stat().st_ino for path in run.tokens(run.training_file).iterdir()}
    file, _ = tokenize_files(run, tokenizer, context_length_tokens=LIMIT)
    assert {path.name: path.stat().st_ino for path in run.tokens(run.training_file).iterdir()} == before
    assert max(len(one.input_ids_L) for one in file) <= LIMIT


def test_a_run_directory_without_arrays_makes_its_own(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    file, none = tokenize_files(run, tokenizer, context_length_tokens=10_000)
    assert (len(file), none) == (N_ROWS, None)
    assert is_complete(run.tokens(run.training_file))


@pytest.mark.parametrize("name", ["ids", "mask", "offsets", "lines", "first_trained", "tokens.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_damaged_arrays_are_made_anew(name: str, damage: str, tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    rows = ROWS[:12]
    first, second = make_run(tmp_path / "first", rows), make_run(tmp_path / "second", rows)
    whole = check(first, tokenizer)
    path = offer(first, second) / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    if damage != "missing":
        path.write_bytes(data if damage == "flipped" else data[: len(data) // 2])
    assert check(second, tokenizer) == whole
    file, _ = tokenize_files(second, tokenizer, context_length_tokens=LIMIT)
    expected, _ = tokenize_files(first, tokenizer, context_length_tokens=LIMIT)
    assert [one.input_ids_L.tolist() for one in file] == [one.input_ids_L.tolist() for one in expected]


def another_tokenizer(base: Path) -> ChatTokenizer:
    return load(make_tokenizer(base, texts=["other words make other tokens"] * 4))


def another_template(base: Path) -> ChatTokenizer:
    return load(make_tokenizer(base, template=MARKED_TEMPLATE.replace("'\\n' }}", "' \\n' }}")))


def another_stop_token(base: Path) -> ChatTokenizer:
    return load(
        make_tokenizer(base, template=MARKED_TEMPLATE.replace("<|im_end|>", "<|endoftext|>"), eos="<|endoftext|>")
    )


@pytest.mark.parametrize("make_other", [another_tokenizer, another_template, another_stop_token])
def test_arrays_of_another_tokenizer_or_template_are_left_alone(
    make_other: Callable[[Path], ChatTokenizer], tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    first, second = make_run(tmp_path / "first", ROWS[:12]), make_run(tmp_path / "second", ROWS[:12])
    check(first, tokenizer)
    offer(first, second)
    assert n_tokenised(check(second, make_other(tmp_path / "base"))) == 12


def test_redacted_arrays_and_others_are_not_taken_for_each_other(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in ("plain", "redacted", "warned")]
    check(runs[0], tokenizer, pii="off")
    offer(runs[0], runs[1])
    assert n_tokenised(check(runs[1], tokenizer, pii="redact")) == N_ROWS
    offer(runs[0], runs[2])
    assert n_tokenised(check(runs[2], tokenizer, pii="warn")) == 0


def test_arrays_of_another_file_are_left_alone_under_whatever_name(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "first", ROWS[:12]), make_run(tmp_path / "second", ROWS[1:13])
    check(first, tokenizer)
    first.tokens(first.training_file).rename(second.tokens(second.training_file))
    assert n_tokenised(check(second, tokenizer)) == 12


def test_of_a_file_that_is_wrong_at_its_end_nothing_is_left(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [*ROWS, {"messages": []}])
    with pytest.raises(FileUnusable, match=f"Line {N_ROWS + 1}"):
        check(run, tokenizer)
    assert {path.name for path in run.root.iterdir()} == {"training.jsonl"}


def test_the_same_examples_give_the_same_bytes_and_other_ones_need_another_version(
    tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    """If this fails, old caches do not hold what is trained on: raise TOKENS_VERSION, and put the new digest here."""
    call = {"id": "c", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Bonn"}'}}
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
    rows = [
        {
            "messages": [
                {"role": "developer", "content": "Be kind."},
                user("hi"),
                assistant("a", weight=0),
                user("b"),
                assistant("c"),
            ]
        },
        {"messages": [user("Bonn?"), {"role": "assistant", "tool_calls": [call]}], "tools": [tool]},
        {"messages": [user("mail a@acme-tools.io"), assistant("Ünïcode ✓")]},
    ]
    run = make_run(tmp_path / "run", rows)
    tokenize_files(run, tokenizer, context_length_tokens=1000, redacts=True)
    summary = read_summary(run.tokens(run.training_file))
    assert summary is not None
    names = ("ids", "mask", "offsets", "lines", "first_trained")
    data = b"".join((run.tokens(run.training_file) / name).read_bytes() for name in names)
    assert (summary.key.version, hashlib.sha256(data).hexdigest()[:16]) == (2, "d99b39281ae797d3")


def test_writing_keeps_no_more_than_a_batch_in_memory(tmp_path: Path) -> None:
    """Each batch is on disk before the next one is made."""
    ids, mask = np.arange(1000, dtype=np.int32), np.ones(1000, dtype=np.bool_)
    with TokenWriter(tmp_path / "x.tokens") as writer:
        for number in range(1, 40):
            writer.add([Tokens(number, ids, mask)] * 16)
            size = (tmp_path / ".staged-x.tokens" / "ids").stat().st_size
            assert number * 16 * 4000 - size <= 256 * 1024
    assert list(tmp_path.iterdir()) == []
