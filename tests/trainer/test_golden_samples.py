"""What golden samples say, by table; and what real adapters have them say."""

import json
from pathlib import Path
from typing import Any

import pytest
from trainer_runs import ROOT, make_run, make_spec, train_here

from trainer.contract.golden import (
    GoldenSample,
    GoldenSamples,
    Verdict,
    build_golden_samples,
    compare,
)
from trainer.contract.run_directory import RunDirectory

ADAPTER, BASE = (-1.0, -2.0), (-4.0, -5.0)


def golden(adapter: tuple[float, ...] = ADAPTER, base: tuple[float, ...] = BASE) -> GoldenSamples:
    ids = tuple(range(len(adapter)))
    sample = GoldenSample(prompt_token_ids=(1,), sampled_token_ids=ids, adapter_logprobs=adapter, base_logprobs=base)
    return build_golden_samples([sample, sample], dtype="float32")


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [
        (ADAPTER, Verdict.REPRODUCED),
        ((-1.01, -1.99), Verdict.REPRODUCED),
        ((-1.019, -2.019), Verdict.REPRODUCED),
        ((-1.03, -2.02), Verdict.DIFFERS),
        ((-1.0, -2.1), Verdict.DIFFERS),  # right on one token alone
        ((-4.0, -5.0), Verdict.IS_BASE),
        ((-4.01, -5.01), Verdict.IS_BASE),
        ((-9.0, -9.0), Verdict.DIFFERS),
        ((float("nan"), -2.0), Verdict.DIFFERS),
        ((float("-inf"), -2.0), Verdict.DIFFERS),
    ],
)
def test_an_engine_is_judged_by_the_log_probabilities_it_gives(measured: tuple[float, ...], verdict: Verdict) -> None:
    assert compare(golden(), [measured, measured]).verdict == verdict


@pytest.mark.parametrize(
    ("moved_by", "measured_off_by", "verdict"),
    [
        (0.0, 0.0, Verdict.UNDECIDED),  # nothing is moved: the base says the same
        (0.05, 0.01, Verdict.UNDECIDED),
        (0.05, 0.001, Verdict.REPRODUCED),
        (0.05, 0.03, Verdict.DIFFERS),
    ],
)
def test_an_adapter_that_barely_moves_the_base_is_decided_on_only_where_the_engine_is_exact(
    moved_by: float, measured_off_by: float, verdict: Verdict
) -> None:
    barely = golden(adapter=(-1.0, -1.0), base=(-1.0 - moved_by, -1.0 - moved_by))
    measured = [(-1.0 + measured_off_by,) * 2] * 2
    assert compare(barely, measured).verdict == verdict
    assert not barely.is_distinct


def test_the_gap_to_the_base_is_a_mean_over_tokens() -> None:
    assert golden(base=(-4.0, -3.0)).base_gap == 2.0
    assert golden().is_distinct


@pytest.mark.parametrize("measured", [[ADAPTER], [ADAPTER, ADAPTER[:1]], [ADAPTER, (*ADAPTER, -1.0)]])
def test_too_few_or_too_many_figures_are_no_measurement(measured: list[tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        compare(golden(), measured)


def read(run: RunDirectory) -> GoldenSamples:
    return GoldenSamples.model_validate_json((run.adapter / "golden_samples.json").read_bytes())


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return train_here(make_run(tmp_path_factory.mktemp("golden") / "run", make_spec(base)))


@pytest.mark.trainer
def test_the_samples_are_what_peft_says_with_and_without_the_published_adapter(
    base: Path, trained: RunDirectory
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), trained.adapter
    ).eval()
    found = read(trained)
    assert (found.dtype, found.training_gap, len(found.samples)) == ("float32", None, 4)
    with_adapter = [score(model, sample) for sample in found.samples]
    with model.disable_adapter():
        of_base = [score(model, sample) for sample in found.samples]
    for sample, adapter_logprobs, base_logprobs in zip(found.samples, with_adapter, of_base, strict=True):
        assert len(sample.sampled_token_ids) == 16
        assert sample.adapter_logprobs == pytest.approx(adapter_logprobs, abs=1e-4)
        assert sample.base_logprobs == pytest.approx(base_logprobs, abs=1e-4)
    assert compare(found, with_adapter).verdict == Verdict.REPRODUCED
    assert compare(found, of_base).verdict != Verdict.REPRODUCED


def score(model: Any, sample: GoldenSample) -> list[float]:
    """One at a time, unlike the trainer."""
    import torch

    tokens = [*sample.prompt_token_ids, *sample.sampled_token_ids]
    with torch.no_grad():
        rows = model(input_ids=torch.tensor([tokens])).logits[0].log_softmax(-1)
    start = len(sample.prompt_token_ids)
    return [float(rows[position - 1, tokens[position]]) for position in range(start, len(tokens))]


@pytest.mark.trainer
def test_the_same_adapter_has_the_same_samples_and_every_adapter_the_same_prompts(
    base: Path, trained: RunDirectory, tmp_path: Path
) -> None:
    again = train_here(make_run(tmp_path / "again", make_spec(base)))
    assert (again.adapter / "golden_samples.json").read_bytes() == (
        trained.adapter / "golden_samples.json"
    ).read_bytes()
    other = train_here(make_run(tmp_path / "other", make_spec(base, seed=8, method={"n_epochs": 1}), start=500))
    prompts, others = ([sample.prompt_token_ids for sample in read(run).samples] for run in (trained, other))
    assert prompts == others  # so there is nothing of a training file in them
    assert len(set(prompts)) == 4
    assert read(other) != read(trained)


@pytest.mark.trainer
def test_an_adapter_that_changes_nothing_says_so(base: Path, tmp_path: Path) -> None:
    spec = make_spec(base, method={"n_epochs": 1, "learning_rate": 1e-12})
    found = read(train_here(make_run(tmp_path / "run", spec, n_examples=4)))
    assert found.base_gap < 1e-6
    assert not found.is_distinct


@pytest.mark.trainer
def test_a_short_context_has_shorter_samples(base: Path, tmp_path: Path) -> None:
    spec = make_spec(base, context_length_tokens=16, method={"n_epochs": 1})
    run = make_run(tmp_path / "run", spec, n_examples=4)
    short = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    run.training_file.write_text((json.dumps(short) + "\n") * 10)
    for sample in read(train_here(run)).samples:
        assert len(sample.prompt_token_ids) + len(sample.sampled_token_ids) <= 16
        assert sample.sampled_token_ids


@pytest.mark.trainer
def test_an_adapter_trained_on_a_quantised_base_is_sampled_on_the_one_that_serves(tmp_path: Path) -> None:
    """The demo model in NF4, as bitsandbytes has it; how far that base is from the real one is said."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    from trainer.adapter import attach_lora
    from trainer.base_model import load_base_model
    from trainer.golden_samples import build_prompts
    from trainer.probes import Probes
    from trainer.proving import Prover
    from trainer.state import TrainingState

    base = ROOT / "examples" / "demo_model"
    spec = make_spec(base)
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    prompts = build_prompts(AutoTokenizer.from_pretrained(base), context_length_tokens=256)
    found = []
    for quantisation in (nf4, None):
        model: Any = (
            load_base_model(spec.base_model, "cpu")
            if quantisation is None
            else AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, quantization_config=quantisation)
        )
        model = attach_lora(model, spec.lora, seed=1)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.manual_seed(len(name))
                torch.nn.init.normal_(parameter, std=0.1)
        optimizer = torch.optim.SGD(model.parameters())
        state = TrainingState(model, optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer))
        memory = spec.memory.model_copy(update={"quantization": None if quantisation is None else "nf4"})
        told = spec.model_copy(update={"memory": memory})
        found.append(Prover(told, Probes(prompts, [torch.arange(9)[None]], [])).publish(tmp_path, state, step=1))
    (on_quantised, on_plain), reproductions = ([proof.samples for proof in found], [p.reproduction for p in found])
    assert on_quantised.samples == on_plain.samples
    assert on_quantised.training_gap is not None
    print(f"NF4: {on_quantised.training_gap:.4f}, the base alone: {on_quantised.base_gap:.4f}")  # noqa: T201
    assert 0 < on_quantised.training_gap < on_quantised.base_gap
    assert on_plain.training_gap is None
    assert [reproduction.relative_error for reproduction in reproductions] == [0, 0]
