"""What is trained on and what is held out: groups stay whole, ratios are right, the seed decides."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from trainer_runs import (
    FAULTS,
    assistant,
    damage,
    example,
    finish,
    make_run,
    make_spec,
    make_tokenizer,
    progress,
    user,
    write_lines,
)

from trainer.check import look_through
from trainer.choosing_again import ensure_chosen
from trainer.contract.report import CheckReport, SelectionReport
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource, CheckSpec, MixIn, TrainingSpec, WantedSelection
from trainer.dataset import TokenizedExamples, tokenize_files
from trainer.failures import FileUnusable, TrainerError
from trainer.gate.clusters import join_groups
from trainer.selection import Pool, Selection, draw, hold_out, select
from trainer.selection_files import read_selection, write_selection
from trainer.tokenizer import ChatTokenizer, load_chat_tokenizer


def pool(groups: list[int], *, start: int = 0) -> Pool:
    return Pool(np.arange(start, start + len(groups), dtype=np.uint32), np.array(groups, dtype=np.uint32))


def wish(**options: Any) -> WantedSelection:
    return WantedSelection(**{"seed": 7, **options})


def mix(*ratios: float) -> tuple[MixIn, ...]:
    return tuple(MixIn(file_id=f"file-{place}", ratio=ratio) for place, ratio in enumerate(ratios))


def numbers(rows: Any) -> list[tuple[int, int]]:
    return [(int(file), int(number)) for file, number in rows]


HELD_OUT = [  # groups, share, how many are held out
    ("each alone", list(range(10)), 0.2, 2),
    ("the half", list(range(10)), 0.5, 5),
    ("at least one", list(range(10)), 0.001, 1),
    ("pairs", [n // 2 for n in range(10)], 0.2, 2),
    ("pairs do not go into three", [n // 2 for n in range(10)], 0.3, 2),
    ("a large group is left", [0] * 90 + list(range(1, 11)), 0.1, 10),
    ("only large groups: the smallest", [0] * 50 + [1] * 20 + [2] * 30, 0.1, 20),
    ("two", [0, 1], 0.1, 1),
]


@pytest.mark.parametrize(("groups", "share", "n"), [row[1:] for row in HELD_OUT], ids=[row[0] for row in HELD_OUT])
def test_a_share_is_held_out_in_whole_groups(groups: list[int], share: float, n: int) -> None:
    for seed in range(5):
        assert hold_out(np.array(groups, dtype=np.uint32), share, seed).sum() == n


def test_of_one_group_nothing_can_be_held_out() -> None:
    with pytest.raises(FileUnusable, match=r"the 10 example.s. of the training file are all the same") as caught:
        hold_out(np.zeros(10, dtype=np.uint32), 0.2, 1)
    assert (caught.value.param, caught.value.code) == ("data.holdout", "invalid_training_file")


@pytest.mark.parametrize(
    ("n", "expected"),
    [(1, [1]), (3, [1, 1, 1]), (5, [1] * 5), (7, [1, 1, 1, 2, 2]), (10, [2] * 5), (11, [2, 2, 2, 2, 3])],
)
def test_each_is_drawn_as_often_as_any_other_or_once_more(n: int, expected: list[int]) -> None:
    drawn = draw(np.arange(100, 105, dtype=np.uint32), n, seed=3, stream=0)
    _, times = np.unique(drawn, return_counts=True)
    assert sorted(times.tolist()) == expected


def test_groups_are_joined_by_whatever_joins_them() -> None:
    same = np.array([5, 6, 5, 7, 8, 8], dtype=np.int64)
    near = np.array([0, 1, 2, 1, 2, 5], dtype=np.int64)
    assert join_groups(same, near).tolist() == [0, 1, 0, 1, 0, 0]  # 5 is like 4, which is near 2, which is 0
    assert join_groups(np.arange(4)).tolist() == [0, 1, 2, 3]


groups_of_a_file = st.lists(st.integers(0, 30), min_size=2, max_size=80)


@given(
    own=groups_of_a_file.filter(lambda groups: len(set(groups)) > 1),
    others=st.lists(st.tuples(groups_of_a_file, st.floats(0.05, 10)), max_size=3),
    holdout=st.none() | st.floats(0.01, 0.5),
    pilot=st.none() | st.integers(10, 100),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_selection_keeps_its_promises(
    own: list[int], others: list[tuple[list[int], float]], holdout: float | None, pilot: int | None, seed: int
) -> None:
    mixed = [pool(groups) for groups, _ in others]
    wanted = wish(seed=seed, holdout=holdout, pilot=pilot, mix_in=mix(*(ratio for _, ratio in others)))
    try:
        chosen = select(pool(own), mixed, wanted)
    except FileUnusable:
        reject()  # one group, or all that could be mixed in is like what is held out
    assert numbers(select(pool(own), mixed, wanted).training) == numbers(chosen.training)

    group_of = dict(enumerate([own, *(groups for groups, _ in others)]))
    trained = {group_of[file][number] for file, number in numbers(chosen.training)}
    held_out = [] if chosen.validation is None else numbers(chosen.validation)
    assert not trained & {own[number] for _, number in held_out}  # so no example is on both sides either
    assert len(set(held_out)) == len(held_out)

    of_own = [number for file, number in numbers(chosen.training) if file == 0]
    assert len(set(of_own)) == len(of_own) == chosen.n_own > 0
    assert len(of_own) + len(held_out) == min(len(own), pilot or len(own))
    assert (holdout is not None) == bool(held_out)
    for place, (_, ratio) in enumerate(others):
        drawn = [number for file, number in numbers(chosen.training) if file == place + 1]
        assert len(drawn) == max(1, round(ratio * len(of_own))) == chosen.mixed_in[place].n_examples
        times = np.unique(drawn, return_counts=True)[1]
        assert times.max() - times.min() <= 1
        assert chosen.mixed_in[place].is_repeated == (len(drawn) > chosen.mixed_in[place].n_usable)


def test_another_seed_chooses_otherwise() -> None:
    chosen = [select(pool(list(range(200))), [], wish(seed=seed, pilot=50)) for seed in (1, 2)]
    assert numbers(chosen[0].training) != numbers(chosen[1].training)


def test_what_is_like_a_validation_example_is_not_mixed_in() -> None:
    apart = np.array([3, 4], dtype=np.uint32)
    chosen = select(pool([0, 1, 2]), [pool([3, 4, 5, 0])], wish(mix_in=mix(2.0)), validation_groups=apart)
    assert {number for file, number in numbers(chosen.training) if file == 1} == {2, 3}
    assert chosen.mixed_in[0].is_repeated
    with pytest.raises(FileUnusable, match="Nothing of the file file-0 can be mixed in") as caught:
        select(pool([0, 1, 2]), [pool([3, 4])], wish(mix_in=mix(2.0)), validation_groups=apart)
    assert caught.value.param == "data.mix_in[0].file"


@pytest.mark.parametrize("damage", ["training", "validation", "selection.json", "manifest.json", "all"])
def test_a_damaged_selection_is_not_used(damage: str, tmp_path: Path) -> None:
    chosen = Selection(np.array([[0, 1], [1, 2]], dtype=np.uint32), np.array([[0, 3]], dtype=np.uint32))
    directory = tmp_path / "selection"
    write_selection(directory, chosen)
    training, validation = read_selection(directory)
    assert (numbers(training), numbers(validation)) == ([(0, 1), (1, 2)], [(0, 3)])
    if damage == "all":
        directory.rename(tmp_path / "gone")
    else:
        data = (directory / damage).read_bytes()
        (directory / damage).write_bytes(data[:-3])
    with pytest.raises(TrainerError, match="damaged or lost"):
        read_selection(directory)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    return load_chat_tokenizer(BaseModelSource(source=str(make_tokenizer(tmp_path_factory.mktemp("base")))))


def row(index: int, *, twin: int = 0) -> dict[str, Any]:
    """Rows that have nothing in common; a twin differs from its row in one word of many."""
    words = [f"w{step}of{index}" for step in range(120)]
    words[3] += "x" * twin
    return {"messages": [user(" ".join(words)), assistant(f"answer {index} is this")]}


def check(run: RunDirectory, tokenizer: ChatTokenizer, wanted: WantedSelection) -> tuple[CheckReport, SelectionReport]:
    spec = CheckSpec(
        job_id="ftjob-test",
        base_model=BaseModelSource(source="unread"),
        context_length_tokens=2000,
        selection=wanted,
    )
    report = look_through(run, spec, tokenizer)
    assert report.selection is not None
    return report, report.selection


def opened(
    run: RunDirectory, tokenizer: ChatTokenizer, wanted: WantedSelection
) -> tuple[TokenizedExamples, TokenizedExamples | None]:
    return tokenize_files(run, tokenizer, context_length_tokens=2000, selection=wanted)


def texts(tokenizer: ChatTokenizer, examples: TokenizedExamples | None) -> list[str]:
    return [tokenizer.tokenizer.decode(one.input_ids_L) for one in examples or ()]


def test_near_duplicates_of_a_file_fall_on_one_side(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    run, wanted = RunDirectory(tmp_path), wish(holdout=0.3)
    write_lines(run.training_file, (row(index, twin=twin) for index in range(12) for twin in (0, 1, 1)))
    report, chosen = check(run, tokenizer, wanted)
    training, validation = opened(run, tokenizer, wanted)
    sides = [
        {text.split("answer ")[1].split()[0] for text in texts(tokenizer, side)} for side in (training, validation)
    ]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 12
    assert (chosen.n_own, chosen.n_held_out, chosen.n_groups_held_out) == (27, 9, 3)
    assert report.training is not None
    assert report.validation is not None
    assert (report.training.n_examples, report.validation.n_examples) == (27, 9)
    for side, told in ((training, report.training), (validation, report.validation)):
        assert side is not None
        assert told.n_tokens == sum(len(one.input_ids_L) for one in side)
        assert told.n_trained_tokens == sum(one.n_trained_tokens for one in side)
        assert told.longest_tokens == max(len(one.input_ids_L) for one in side)


def test_files_are_mixed_in_by_ratio_and_a_pilot_comes_first(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    run, wanted = RunDirectory(tmp_path), wish(pilot=20, holdout=0.25, mix_in=mix(1.0, 2.0))
    write_lines(run.training_file, map(row, range(60)))
    write_lines(run.mixed_in_file(0), map(row, range(100, 140)))
    write_lines(run.mixed_in_file(1), map(row, range(200, 210)))
    report, chosen = check(run, tokenizer, wanted)
    assert report.training is not None
    assert (chosen.n_usable, chosen.pilot, chosen.n_own, chosen.n_held_out) == (60, 20, 15, 5)
    assert [(of.n_usable, of.n_examples, of.is_repeated) for of in chosen.mixed_in] == [(40, 15, False), (10, 30, True)]
    assert report.training.n_examples == 15 + 15 + 30
    training, validation = opened(run, tokenizer, wanted)
    answers = [int(text.split("answer ")[1].split()[0]) for text in texts(tokenizer, training)]
    assert [sum(low <= answer < low + 100 for answer in answers) for low in (0, 100, 200)] == [15, 15, 30]
    assert len(validation or ()) == 5
    inode = (run.tokens(run.mixed_in_file(0)) / "ids").stat().st_ino
    assert check(run, tokenizer, wanted)[0] == report.model_copy(
        update={"training": report.training.model_copy(update={"n_tokenised": 0})}
    )
    assert (run.tokens(run.mixed_in_file(0)) / "ids").stat().st_ino == inode


def test_what_is_wrong_with_a_mixed_in_file_is_said_of_it(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    write_lines(run.training_file, map(row, range(12)))
    write_lines(run.mixed_in_file(0), map(row, range(12)))
    write_lines(run.mixed_in_file(1), [*map(row, range(3)), {"messages": [user("a")]}])
    with pytest.raises(FileUnusable, match=r"invalid mix_in\[1\] file.*Line 4") as caught:
        check(run, tokenizer, wish(mix_in=mix(1.0, 1.0)))
    assert (caught.value.param, caught.value.code) == ("data.mix_in[1].file", "invalid_training_file")


def test_findings_of_a_mixed_in_file_are_its_own(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    write_lines(run.training_file, map(row, range(12)))
    write_lines(run.validation_file, map(row, range(50, 53)))
    write_lines(run.mixed_in_file(0), [row(100), row(101), row(100)])
    report, _ = check(run, tokenizer, wish(mix_in=mix(0.2)))
    (found,) = [finding for finding in report.findings if finding.check == "duplicates"]
    assert (found.file, found.lines) == ("mix_in[0]", (3,))


def test_the_same_texts_without_words_are_one_group(tokenizer: ChatTokenizer, tmp_path: Path) -> None:
    run, wanted = RunDirectory(tmp_path), wish(holdout=0.1)
    write_lines(run.training_file, [{"messages": [user("?"), assistant("!")]}] * 10)
    with pytest.raises(FileUnusable, match="No validation set can be held out"):
        check(run, tokenizer, wanted)


@pytest.fixture
def chosen_run(tokenizer: ChatTokenizer, tmp_path: Path) -> tuple[RunDirectory, TrainingSpec]:
    """A run directory as its check leaves it, with everything that can be asked of a choice."""
    run, wanted = RunDirectory(tmp_path), wish(pilot=20, holdout=0.25, mix_in=mix(1.0))
    write_lines(run.training_file, map(row, range(40)))
    write_lines(run.mixed_in_file(0), map(row, range(100, 120)))
    report, _ = check(run, tokenizer, wanted)
    source = Path("unread")
    spec = make_spec(source, selection=wanted, context_length_tokens=2000, selection_sha256=report.selection_sha256)
    return run, spec


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_whatever_is_damaged_of_choice_and_tokens_is_made_again_as_it_was(
    chosen_run: tuple[RunDirectory, TrainingSpec], tokenizer: ChatTokenizer
) -> None:
    run, spec = chosen_run
    directories = [run.selection, *map(run.tokens, (run.training_file, run.mixed_in_file(0)))]
    whole = [contents(directory) for directory in directories]
    assert [len(files) for files in whole] == [4, 8, 8]
    for directory in directories:
        for name in sorted(contents(directory)):
            for fault in FAULTS:
                damage(directory / name, fault)
                ensure_chosen(run, spec, tokenizer)
                opened(run, tokenizer, spec.selection)
                assert [contents(made) for made in directories] == whole, (directory.name, name, fault)


def test_what_was_lost_as_a_whole_is_made_again(
    chosen_run: tuple[RunDirectory, TrainingSpec], tokenizer: ChatTokenizer
) -> None:
    run, spec = chosen_run
    whole = contents(run.selection)
    for directory in (run.selection, run.tokens(run.training_file)):
        directory.rename(run.root / "gone")
        ensure_chosen(run, spec, tokenizer)
        (run.root / "gone").rename(run.root / f"gone-{directory.name}")
    assert contents(run.selection) == whole


def forget_the_hash(_run: RunDirectory, spec: TrainingSpec) -> TrainingSpec:
    (_run.selection / "training").unlink()
    return spec.model_copy(update={"selection_sha256": None})


def change_a_file(run: RunDirectory, spec: TrainingSpec) -> TrainingSpec:
    (run.selection / "training").unlink()
    write_lines(run.training_file, map(row, range(41)))
    return spec


def put_another_choice(run: RunDirectory, spec: TrainingSpec) -> TrainingSpec:
    """A whole one, of files that are no more."""
    write_selection(run.selection, Selection(np.array([[0, 1]], dtype=np.uint32)))
    write_lines(run.training_file, map(row, range(41)))
    return spec


@pytest.mark.parametrize("change", [forget_the_hash, change_a_file, put_another_choice])
def test_a_run_never_trains_on_other_examples_than_were_chosen(
    chosen_run: tuple[RunDirectory, TrainingSpec],
    tokenizer: ChatTokenizer,
    change: Callable[[RunDirectory, TrainingSpec], TrainingSpec],
) -> None:
    run, spec = chosen_run
    with pytest.raises(TrainerError, match="So as not to train on other examples, the job ends here"):
        ensure_chosen(run, change(run, spec), tokenizer)


def test_a_manifest_that_leaves_files_out_does_not_make_a_choice_whole(tmp_path: Path) -> None:
    directory = tmp_path / "selection"
    write_selection(directory, Selection(np.array([[0, 1], [1, 2]], dtype=np.uint32)))
    (directory / "manifest.json").write_text('{"files": {}}')
    (directory / "training").write_bytes(b"\0" * 12)
    with pytest.raises(TrainerError, match="damaged or lost"):
        read_selection(directory)


@pytest.mark.trainer
@pytest.mark.timeout(300)
def test_a_run_trains_on_what_was_chosen_and_a_resumed_one_on_the_same(base: Path, tmp_path: Path) -> None:
    """It ends with the same bytes, even where the choice and the tokens are damaged between the attempts."""
    wanted = wish(pilot=20, holdout=0.2, mix_in=mix(0.5))
    spec = make_spec(base, selection=wanted, method={"n_epochs": 2})
    whole = make_run(tmp_path / "whole", spec, n_examples=40)
    write_lines(whole.mixed_in_file(0), (example(500 + index) for index in range(30)))
    tokenizer = load_chat_tokenizer(spec.base_model)
    whole_check = whole.read_check_spec().model_copy(update={"selection": wanted})
    spec = spec.model_copy(update={"selection_sha256": look_through(whole, whole_check, tokenizer).selection_sha256})
    whole.write_spec(spec)
    assert finish(whole) == 0, whole.log.read_text()
    steps = progress(whole)
    assert len(steps) == 2 * 6  # of 16 own examples and 8 mixed in, four a step
    assert steps[-1].metrics.full_valid_loss is not None
    assert json.loads((whole.selection / "selection.json").read_text()) == {"n_training": 24, "n_validation": 4}

    attempt = spec.model_copy(update={"attempt": 2, "resume_from": whole.checkpoint(6)})
    resumed = make_run(tmp_path / "resumed", attempt, n_examples=40)
    for name in ("selection", "mix_in_0.jsonl", "training.tokens", "mix_in_0.tokens"):
        (whole.root / name).rename(resumed.root / name)
    damage(resumed.selection / "training", "flip")
    damage(resumed.tokens(resumed.training_file) / "ids", "cut")
    assert finish(resumed) == 0, resumed.log.read_text()
    assert [(step.step, step.metrics) for step in progress(resumed)] == [(s.step, s.metrics) for s in steps[6:]]
    weights = "adapter_model.safetensors"
    assert (resumed.adapter / weights).read_bytes() == (whole.adapter / weights).read_bytes()
