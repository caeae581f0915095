"""How a run is made to fit, and what is tried after memory ran out: by table."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.fine_tuning.estimates.planned import Planned
from server.fine_tuning.estimates.planner import (
    Fit,
    NoFit,
    Room,
    Work,
    choose_plan,
    default_plan,
    leaner_plan,
    memory_of,
)
from server.fine_tuning.hyperparameters import WantedQuantization
from server.fine_tuning.lifecycle import Fail
from server.fine_tuning.running.out_of_memory import TryLeaner, after_out_of_memory
from server.vocabulary import EventLevel, JobErrorCode
from trainer.contract.shape import ModelShape
from trainer.contract.spec import MemoryPlan, Optimizer

DEMO = ModelShape(hidden=256, intermediate=768, layers=4, heads=4, kv_heads=2, head_dim=64, vocabulary=2048, tied=True)
MB = 1_000_000
LLAMA = Work(
    ModelShape(
        hidden=4096, intermediate=14336, layers=32, heads=32, kv_heads=8, head_dim=128, vocabulary=128_256, tied=False
    ),
    2048,
    16,
    labelled_share=0.5,
)


def plan(tokens: int, *, checkpointing: bool = False, nf4: bool = False) -> MemoryPlan:
    return MemoryPlan(
        micro_batch_tokens=tokens, gradient_checkpointing=checkpointing, quantization="nf4" if nf4 else None
    )


def work(longest_tokens: int = 200, batch_size: int = 32) -> Work:
    return Work(DEMO, longest_tokens, batch_size, labelled_share=0.2)


ROOMS: dict[str, tuple[Work, int, bool, MemoryPlan | None]] = {
    "where there is room, the fastest": (work(), 10_000 * MB, False, plan(4096)),
    "smaller micro-batches first": (work(), 1400 * MB, False, plan(2048)),
    "then smaller ones still": (work(), 900 * MB, False, plan(512)),
    "one example at a time, if need be": (work(longest_tokens=300), 800 * MB, False, plan(300)),
    "checkpointing, when one example is too much": (
        work(longest_tokens=1000),
        830 * MB,
        False,
        plan(1024, checkpointing=True),
    ),
    "4 bits last, and only if allowed": (
        work(longest_tokens=200),
        750 * MB,
        True,
        plan(256, checkpointing=True, nf4=True),
    ),
    "and not otherwise": (work(longest_tokens=200), 750 * MB, False, None),
    "an example longer than any micro-batch": (work(longest_tokens=6000), 10_000 * MB, False, plan(4096)),
}


@pytest.mark.parametrize("name", ROOMS)
def test_the_cheapest_measure_that_suffices_is_taken(name: str) -> None:
    job, available, allow_4bit, expected = ROOMS[name]
    chosen = choose_plan(job, Room("cpu", available, allow_4bit))
    assert (chosen.plan if isinstance(chosen, Fit) else None) == expected


def test_without_an_estimate_a_gpu_is_treated_carefully() -> None:
    assert default_plan("cpu") == plan(4096)
    assert default_plan("cuda") == plan(8192, checkpointing=True)


@given(
    longest=st.integers(1, 20_000),
    batch_size=st.integers(1, 256),
    available=st.integers(0, 5_000 * MB),
    allow_4bit=st.booleans(),
)
def test_what_is_chosen_fits_and_what_is_refused_fits_no_way(
    longest: int, batch_size: int, available: int, allow_4bit: bool
) -> None:
    job, room = work(longest, batch_size), Room("cpu", available, allow_4bit)
    chosen = choose_plan(job, room)
    if isinstance(chosen, Fit):
        assert chosen.memory.needed <= available
        assert chosen.memory == memory_of(job, "cpu", chosen.plan)
        return
    assert chosen.memory.needed > available
    leanest = plan(1, checkpointing=True, nf4=allow_4bit)
    shorter = memory_of(work(chosen.fitting_tokens, batch_size), "cpu", leanest).needed
    assert chosen.fitting_tokens == 0 or shorter <= available
    assert chosen.fitting_tokens < longest


def test_a_refusal_gives_the_numbers_and_what_would_fit() -> None:
    refused = choose_plan(work(longest_tokens=50_000), Room("cpu", 1000 * MB))
    assert isinstance(refused, NoFit)
    assert refused.memory.needed > 1000 * MB
    assert refused.message() == (
        f"Training would need {refused.memory.needed / 1e9:.3g} GB of memory, and 1 GB are available. "
        f"To make it fit: with examples of at most {refused.fitting_tokens} tokens it fits."
    )
    just_not = NoFit(plan(1), replace(refused.memory, needed=748 * MB), 741 * MB, 0, 2_000_000 * MB).message()
    assert "would need 0.748 GB of memory, and 0.741 GB are available" in just_not
    assert "choose a smaller base model" in NoFit(plan(1), refused.memory, 10, 0, None).message()


LADDER: dict[str, tuple[MemoryPlan, int, int, bool, MemoryPlan | None]] = {
    "half the micro-batch": (plan(4096), 200, 64, False, plan(2048)),
    "half of what was really used": (plan(4096), 200, 8, False, plan(800)),
    "not less than one example": (plan(300), 200, 8, False, plan(200)),
    "then checkpointing": (plan(200), 200, 8, True, plan(200, checkpointing=True)),
    "a batch of one cannot be halved": (plan(4096), 200, 1, False, plan(4096, checkpointing=True)),
    "then 4 bits": (plan(200, checkpointing=True), 200, 8, True, plan(200, checkpointing=True, nf4=True)),
    "if they are allowed": (plan(200, checkpointing=True), 200, 8, False, None),
    "then nothing": (plan(200, checkpointing=True, nf4=True), 200, 8, True, None),
    "what is checkpointed already is halved first": (
        plan(8192, checkpointing=True),
        100,
        256,
        False,
        plan(4096, checkpointing=True),
    ),
}


@pytest.mark.parametrize("name", LADDER)
def test_the_next_step_of_the_ladder_is_the_tables(name: str) -> None:
    before, longest, batch_size, allow_4bit, after = LADDER[name]
    assert after == leaner_plan(before, longest_tokens=longest, batch_size=batch_size, allow_4bit=allow_4bit)


@given(tokens=st.integers(1, 10_000), longest=st.integers(1, 9000), batch_size=st.integers(1, 256), nf4=st.booleans())
def test_the_ladder_has_an_end_and_each_step_is_leaner(tokens: int, longest: int, batch_size: int, nf4: bool) -> None:
    current: MemoryPlan | None = plan(tokens)
    job, needs = work(longest, batch_size), []
    while current is not None:
        needs.append(memory_of(job, "cpu", current).peak)
        assert len(needs) < 20
        current = leaner_plan(current, longest_tokens=longest, batch_size=batch_size, allow_4bit=nf4)
    assert needs == sorted(needs, reverse=True)
    assert len(set(needs)) == len(needs)


@pytest.mark.parametrize(
    ("asked", "allow_4bit", "expected"),
    [
        ("auto", True, {None, "nf4"}),
        ("auto", False, {None}),
        (None, True, {None}),
        ("nf4", False, {"nf4"}),
        ("int8", True, {"int8"}),
    ],
)
def test_what_a_job_asks_its_base_to_be_held_in_is_what_is_tried(
    asked: WantedQuantization, allow_4bit: bool, expected: set[str | None]
) -> None:
    found = set()
    for available in range(700 * MB, 2000 * MB, 20 * MB):
        chosen = choose_plan(replace(work(1000), quantization=asked), Room("cpu", available, allow_4bit))
        found.add(chosen.plan.quantization if isinstance(chosen, Fit) else chosen.leanest.quantization)
    assert found == expected


def test_4_bits_are_advised_where_they_would_fit_and_were_not_asked_for() -> None:
    asked: list[WantedQuantization] = [None, "auto", "int8"]
    for quantization in asked:
        refused = choose_plan(replace(LLAMA, quantization=quantization), Room("cuda", 10_000 * MB))
        assert isinstance(refused, NoFit)
        assert "with quantization 'nf4' it needs" in refused.message()
    refused = choose_plan(replace(LLAMA, quantization="nf4"), Room("cuda", 4_000 * MB))
    assert isinstance(refused, NoFit)
    assert "nf4" not in refused.message()


def test_8_bits_are_between_16_and_4_and_8_bit_moments_take_a_quarter() -> None:
    checkpointing = plan(2048, checkpointing=True)
    weights = {
        quantization: memory_of(LLAMA, "cuda", checkpointing.model_copy(update={"quantization": quantization})).weights
        for quantization in (None, "int8", "nf4")
    }
    assert weights["nf4"] < weights["int8"] < weights[None]
    assert weights["int8"] == pytest.approx(8.1e9, rel=0.15)  # with the embeddings in 16 bits
    moments = {
        optimizer: memory_of(replace(LLAMA, optimizer=optimizer), "cuda", checkpointing).optimizer
        for optimizer in get_args(Optimizer)
    }
    assert moments["paged_adamw_32bit"] == moments["adamw"]
    assert moments["paged_adamw_8bit"] == moments["adamw_8bit"] == pytest.approx(moments["adamw"] / 4, rel=0.02)


def test_a_gpu_without_bfloat16_holds_weights_twice_as_wide() -> None:
    bf16, fp32 = (memory_of(replace(LLAMA, bfloat16=has), "cuda", plan(2048)) for has in (True, False))
    assert (fp32.weights, fp32.gradients) == (2 * bf16.weights, 2 * bf16.gradients)
    assert bf16.adapter == 1.5 * fp32.adapter  # with the copy that is stepped
    assert fp32.activations == pytest.approx(2 * bf16.activations / 1.19, rel=1e-6)


def test_each_step_is_said_and_the_last_word_is_advice() -> None:
    planned = Planned(memory=plan(4096), needed_bytes=2_100_000_000, longest_tokens=1000)
    said = []
    while isinstance(step := after_out_of_memory(planned, batch_size=4, rank=16, allow_4bit=True), TryLeaner):
        assert step.event.level is EventLevel.WARN
        said.append(step.event.message.removeprefix("Memory ran out. The job goes on from its last checkpoint "))
        planned = step.planned
    assert said == [
        "with micro-batches of at most 2000 tokens; batch_size stays the same.",
        "with micro-batches of at most 1000 tokens; batch_size stays the same.",
        "with gradient checkpointing.",
        "with the base model in 4 bits.",
    ]
    assert isinstance(step, Fail)
    assert step.code == JobErrorCode.OUT_OF_MEMORY
    assert "one example of up to 1000 tokens at a time, gradient checkpointing, the base in 4 bits" in step.message
    assert "where 2.1 GB were expected to do" in step.message
    assert "shorter examples, a LoRA rank lower than 16 or a smaller base model" in step.message
    refused = after_out_of_memory(
        Planned(memory=plan(10, checkpointing=True), longest_tokens=10), batch_size=1, rank=8, allow_4bit=False
    )
    assert isinstance(refused, Fail)
    assert "or quantization 'nf4'" in refused.message
