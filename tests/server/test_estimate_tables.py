"""What practitioners are told about sizes, by table: trainable parameters, adapters, memory, which card is enough."""

import pytest

from server.fine_tuning.estimates.layers import (
    active_parameters,
    adapter_bytes,
    base_parameters,
    embedding_parameters,
    lora_parameters,
    projection_parameters,
)
from server.fine_tuning.estimates.memory import NF4_BITS, Load, Trains, estimate_memory
from server.fine_tuning.estimates.planner import Fit, NoFit, Room, Work, choose_plan
from trainer.contract.shape import Experts, ModelShape
from trainer.contract.spec import MemoryPlan


def shape(hidden: int, intermediate: int, layers: int, heads: tuple[int, int], vocabulary: int) -> ModelShape:
    return ModelShape(
        hidden=hidden,
        intermediate=intermediate,
        layers=layers,
        heads=heads[0],
        kv_heads=heads[1],
        head_dim=hidden // heads[0],
        vocabulary=vocabulary,
        tied=vocabulary == 128256 and hidden == 2048,
    )


LLAMA_3_1B = shape(2048, 8192, 16, (32, 8), 128256)
LLAMA_2_7B = shape(4096, 11008, 32, (32, 32), 32000)
LLAMA_3_8B = shape(4096, 14336, 32, (32, 8), 128256)
LLAMA_2_13B = shape(5120, 13824, 40, (40, 40), 32000)
LLAMA_3_70B = shape(8192, 28672, 80, (64, 8), 128256)
SQUARE = shape(4096, 4096, 1, (32, 32), 1)
SIX = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj")
SEVEN = (*SIX, "gate_proj")
ATTENTION = SIX[:4]


@pytest.mark.parametrize(
    ("base", "rank", "targets", "trainable", "share"),
    [
        (LLAMA_2_7B, 16, ATTENTION, 16_777_216, 0.2484),
        (LLAMA_2_7B, 8, ("q_proj", "v_proj"), 4_194_304, 0.0622),
        (LLAMA_3_8B, 16, SEVEN, 41_943_040, 0.5196),
        (LLAMA_3_8B, 16, SIX, 32_505_856, 0.4032),
        (LLAMA_3_1B, 16, ("q_proj", "v_proj"), 1_703_936, 0.1377),
    ],
)
def test_trainable_parameters_are_those_that_peft_counts(
    base: ModelShape, rank: int, targets: tuple[str, ...], trainable: int, share: float
) -> None:
    assert lora_parameters(base, rank=rank, targets=targets) == trainable
    assert round(100 * trainable / (base_parameters(base) + trainable), 4) == share


MIXTRAL_8X7B = shape(4096, 14336, 32, (32, 8), 32000).model_copy(
    update={"experts": Experts(layers=32, number=8, active=2, intermediate=14336)}
)
QWEN_15_MOE = shape(2048, 5632, 24, (16, 16), 151936).model_copy(
    update={"experts": Experts(layers=24, number=60, active=4, intermediate=1408, shared_intermediate=5632)}
)
QWEN_3_30B = shape(2048, 6144, 48, (32, 4), 151936).model_copy(
    update={"head_dim": 128, "experts": Experts(layers=48, number=128, active=8, intermediate=768)}
)


@pytest.mark.parametrize(
    ("base", "billions", "active"),
    [(MIXTRAL_8X7B, 46.7, 12.9), (QWEN_15_MOE, 14.3, 2.7), (QWEN_3_30B, 30.5, 3.3)],
    ids=["Mixtral 8x7B", "Qwen 1.5 MoE A2.7B", "Qwen 3 30B A3B"],
)
def test_mixtures_of_experts_have_the_parameters_that_they_are_named_for(
    base: ModelShape, billions: float, active: float
) -> None:
    assert base_parameters(base) / 1e9 == pytest.approx(billions, abs=0.05)
    assert active_parameters(base, base_parameters(base)) / 1e9 == pytest.approx(active, abs=0.1)


def test_four_bits_save_a_mixture_little_and_its_adapter_is_that_of_its_attention() -> None:
    plain, packed = (on_gpu(MIXTRAL_8X7B, 2048, nf4=nf4) for nf4 in (False, True))
    assert 0.95 * plain < packed < plain
    assert lora_parameters(MIXTRAL_8X7B, rank=16) == lora_parameters(LLAMA_3_8B, rank=16, targets=ATTENTION)


def test_one_square_projection() -> None:
    assert lora_parameters(SQUARE, rank=16, targets=("q_proj",)) == 131_072 == 4096 * 4096 // 128
    assert lora_parameters(SQUARE, rank=8, targets=("q_proj",)) == 65_536
    assert round(100 * 65_536 / 4096**2, 2) == 0.39


@pytest.mark.parametrize(
    ("base", "parameters"),
    [
        (LLAMA_3_1B, 1_235_814_400),
        (LLAMA_2_7B, 6_738_415_616),
        (LLAMA_3_8B, 8_030_261_248),
        (LLAMA_2_13B, 13_015_864_320),
        (LLAMA_3_70B, 70_553_706_496),
    ],
)
def test_a_shape_gives_the_parameters_that_the_model_has(base: ModelShape, parameters: int) -> None:
    assert base_parameters(base) == parameters


@pytest.mark.parametrize(
    ("base", "rank", "targets", "megabytes"),
    [(LLAMA_2_7B, 16, ATTENTION, 33.6), (LLAMA_3_8B, 16, SEVEN, 83.9), (LLAMA_3_8B, 64, SEVEN, 335.5)],
)
def test_an_adapter_in_bfloat16_is_as_large_as_they_say(
    base: ModelShape, rank: int, targets: tuple[str, ...], megabytes: float
) -> None:
    trainable = lora_parameters(base, rank=rank, targets=targets)
    assert round(adapter_bytes(trainable, bytes_per_parameter=2) / 1e6, 1) == megabytes


def test_double_quantisation_saves_three_eighths_of_a_bit() -> None:
    """8-bit scales of 64 weights, and a 32-bit one of 256 of those, in place of 32-bit scales of 64 weights."""
    assert pytest.approx(4 + 8 / 64 + 32 / (64 * 256), abs=5e-4) == NF4_BITS
    assert pytest.approx(4.5 - NF4_BITS, abs=5e-4) == 0.373


def on_gpu(base: ModelShape, tokens: int, trains: Trains = "lora", *, nf4: bool = False) -> float:
    plan = MemoryPlan(micro_batch_tokens=tokens, gradient_checkpointing=True, quantization="nf4" if nf4 else None)
    load = Load(base, plan, "cuda", micro_batch_tokens=tokens, labelled_tokens=tokens, trains=trains)
    return round(estimate_memory(load).peak / 1e9, 1)


@pytest.mark.parametrize(
    ("base", "lora", "qlora_short", "qlora", "guides"),
    [
        (LLAMA_3_1B, 5.4, 2.7, 4.0, (5, 3)),
        (LLAMA_2_7B, 19.2, 6.6, 9.6, (18, 8)),
        (LLAMA_2_13B, 33.7, 10.7, 14.9, (32, 14)),
        (LLAMA_3_70B, 159.8, 47.5, 58.3, (160, 48)),
    ],
    ids=["1B", "7B", "13B", "70B"],
)
def test_memory_of_lora_and_qlora_with_checkpointing(
    base: ModelShape, lora: float, qlora_short: float, qlora: float, guides: tuple[int, int]
) -> None:
    assert (on_gpu(base, 4 * 2048), on_gpu(base, 2048, nf4=True), on_gpu(base, 4 * 2048, nf4=True)) == pytest.approx(
        (lora, qlora_short, qlora), abs=0.05
    )
    assert lora == pytest.approx(guides[0], rel=0.1)
    assert qlora_short <= guides[1]


@pytest.mark.parametrize(
    ("base", "low", "high", "guides"),
    [(LLAMA_3_1B, 24, 27, 8), (LLAMA_2_7B, 123, 128, 56), (LLAMA_2_13B, 236, 243, 104), (LLAMA_3_70B, 1278, 1291, 560)],
    ids=["1B", "7B", "13B", "70B"],
)
def test_full_training_in_float32_takes_eighteen_bytes_a_parameter_and_more_than_guides_say(
    base: ModelShape, low: int, high: int, guides: int
) -> None:
    short, long = on_gpu(base, 2048, "full"), on_gpu(base, 4 * 2048, "full")
    assert low <= short < long <= high
    assert short > guides
    assert short * 1e9 > 18 * base_parameters(base)


def choose(base: ModelShape, tokens: int, gb: float, *, allow_4bit: bool) -> Fit | NoFit:
    work = Work(base, longest_tokens=tokens, batch_size=1, labelled_share=1.0)
    return choose_plan(work, Room("cuda", int(gb * 1e9), allow_4bit))


@pytest.mark.parametrize(
    ("base", "tokens", "gb", "fits"),
    [
        (LLAMA_3_70B, 512, 24, False),
        (LLAMA_3_70B, 2048, 48, True),
        (LLAMA_3_70B, 4 * 2048, 48, False),
        (LLAMA_2_13B, 4 * 2048, 24, True),
        (LLAMA_2_7B, 4 * 2048, 24, True),
        (LLAMA_3_1B, 4 * 2048, 4, True),
    ],
)
def test_what_4_bits_make_fit_on_which_card(base: ModelShape, tokens: int, gb: float, fits: bool) -> None:
    assert isinstance(choose(base, tokens, gb, allow_4bit=True), Fit) == fits


def test_full_training_of_7b_does_not_fit_one_card_of_80_gb() -> None:
    assert on_gpu(LLAMA_2_7B, 512, "full") > 80


def test_16_bits_are_kept_where_they_fit_and_4_are_used_only_where_allowed() -> None:
    roomy, tight, refused = (
        choose(LLAMA_2_7B, 2048, 80, allow_4bit=True),
        choose(LLAMA_2_7B, 2048, 12, allow_4bit=True),
        choose(LLAMA_2_7B, 2048, 12, allow_4bit=False),
    )
    assert isinstance(roomy, Fit)
    assert roomy.plan.quantization is None
    assert isinstance(tight, Fit)
    assert tight.plan.quantization == "nf4"
    assert isinstance(refused, NoFit)
    assert "with quantization 'nf4' it needs" in refused.message()


def test_the_packed_weights_are_the_projections_alone() -> None:
    plan = MemoryPlan(micro_batch_tokens=1, gradient_checkpointing=True, quantization="nf4")
    memory = estimate_memory(Load(LLAMA_3_8B, plan, "cuda", micro_batch_tokens=1, labelled_tokens=1))
    packed = projection_parameters(LLAMA_3_8B) * NF4_BITS / 8
    assert memory.weights == pytest.approx(packed + 2 * embedding_parameters(LLAMA_3_8B), rel=1e-3)
