"""Every kind of adapter with the real libraries: it learns what PEFT learns, and what is published does that too."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from preference_runs import make_preference_run, preference_spec
from trainer_runs import checkpoints_saved, events, make_run, make_spec, progress, train_here

from inference.adapter_files import check_adapter
from inference.base_shapes import read_base_shapes
from server.fine_tuning.estimates.layers import lora_parameters
from server.fine_tuning.estimates.memory import Load, estimate_memory
from server.fine_tuning.publishing.lora_shape import read_lora
from tests.method_rows import KeepRow
from trainer.contract.checkpoint import list_checkpoints
from trainer.contract.events import Note, Succeeded
from trainer.contract.golden import GoldenSamples
from trainer.contract.reproduction import Reproduction
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource, LoraSettings, MethodName, ServingLimits, TrainingSpec

pytestmark = pytest.mark.trainer

KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"rslora": True},
    "dora": {"variant": "dora"},
    "pissa": {"variant": "pissa"},
    "q,v": {"target_modules": ("q_proj", "v_proj")},
    "q,k,v,o": {"target_modules": ("q_proj", "k_proj", "v_proj", "o_proj")},
    "7 modules": {
        "target_modules": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    },
}
AT_THE_REFERENCE = {"dpo": math.log(2), "kto": 0.625}  # losses of a model that says what the reference says
# no clipping, no decay, no schedule: what an optimizer of one's own does in three lines
PLAIN_STEPS = {
    "n_epochs": 2,
    "batch_size": 5,
    "learning_rate": 1e-2,
    "lr_scheduler": "constant",
    "warmup_ratio": 0.0,
    "weight_decay": 0.0,
    "max_grad_norm": 1e9,
}
Train = Callable[[str], RunDirectory]


def lora(kind: str) -> LoraSettings:
    return LoraSettings(**{"rank": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear", **KINDS[kind]})


def spec_of(base: Path, kind: str, **more: Any) -> TrainingSpec:
    return make_spec(base, lora=lora(kind), method=PLAIN_STEPS, checkpoint_every_steps=3, **more)


@pytest.fixture(scope="module")
def train(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """The run of a kind, done once: four steps, two epochs."""
    done: dict[str, RunDirectory] = {}

    def train(kind: str) -> RunDirectory:
        if kind not in done:
            root = tmp_path_factory.mktemp("kind") / "run"
            done[kind] = train_here(make_run(root, spec_of(base, kind), n_examples=10))
        return done[kind]

    return train


def reproduction(directory: Path) -> Reproduction:
    return Reproduction.model_validate_json((directory / "reproduction.json").read_bytes())


@pytest.mark.parametrize("kind", KINDS)
def test_its_losses_are_those_of_pefts_own_adapter_on_the_same_batches(
    base: Path, train: Train, keep_row: KeepRow, kind: str
) -> None:
    """The first is of an adapter that does nothing yet; the others tell the kinds apart."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    run, settings = train(kind), lora(kind)
    batches = batches_of(run, base)
    torch.manual_seed(7)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        use_dora=settings.variant == "dora",
        use_rslora=settings.rslora,
        init_lora_weights="pissa" if settings.variant == "pissa" else True,
        target_modules="all-linear" if settings.target_modules == "all-linear" else list(settings.target_modules),
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0)
    losses = []
    for batch in batches:
        loss = sum(model(input_ids=ids, labels=labels).loss * (labels[0, 1:] != -100).sum() for ids, labels in batch)
        loss = loss / sum((labels[0, 1:] != -100).sum() for _, labels in batch)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    ours = [step.metrics.train_loss for step in progress(run)]
    assert ours == pytest.approx(losses, rel=2e-5)
    if kind != "lora":  # its row is of the methods' tests
        keep_row("supervised", kind, trains="4 steps", first_step_loss=f"{abs(ours[0] - losses[0]):.0e} apart")


def batches_of(run: RunDirectory, base: Path) -> list[list[tuple[Any, Any]]]:
    """Token ids and labels of every example, one at a time, in the order of the steps."""
    import torch

    from trainer.dataset import tokenize_files
    from trainer.order import StepOrder
    from trainer.tokenizer import load_chat_tokenizer

    examples, _ = tokenize_files(run, load_chat_tokenizer(BaseModelSource(source=str(base))), context_length_tokens=256)
    batches = []
    for step in range(1, 5):
        chosen = [examples[index] for index in StepOrder(10, 5, 2, 7).examples_of(step)]
        ids = [torch.tensor(each.input_ids_L.astype("int64"))[None] for each in chosen]
        masks = [torch.tensor(each.trained_L.copy())[None] for each in chosen]
        batches.append([(tokens, tokens.masked_fill(~mask, -100)) for tokens, mask in zip(ids, masks, strict=True)])
    return batches


@pytest.mark.parametrize("kind", KINDS)
def test_it_changes_what_the_base_says_and_what_is_published_says_the_same(
    train: Train, keep_row: KeepRow, kind: str
) -> None:
    run = train(kind)
    found = reproduction(run.adapter)
    print(f"{kind}: rank {found.rank}, {found.on_examples.relative_error:.1e} on examples")  # noqa: T201
    assert progress(run)[-1].metrics.train_loss < progress(run)[0].metrics.train_loss
    assert found.on_examples.effect > 0.05
    largest = {"dora": 0.1, "pissa": 1e-5}.get(kind, 0.0)
    assert found.relative_error <= largest
    assert found.rank == {"dora": 16, "pissa": 8}.get(kind, 4)
    is_converted = lora(kind).variant != "lora"
    assert [event.level for event in events(run) if isinstance(event, Note)] == ["info"] * is_converted
    losses = [progress(run)[place].metrics.train_loss for place in (0, -1)]
    served = f"as a LoRA of rank {found.rank}, {found.relative_error:.0e} of its effect off"
    if kind != "lora":
        keep_row(
            "supervised",
            kind,
            effect=f"training loss {losses[0]:.2f} to {losses[1]:.2f}",
            served=served if is_converted else "as the adapter it is",
        )


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_published_is_a_plain_lora_that_engines_take(base: Path, train: Train, kind: str) -> None:
    adapter = train(kind).adapter
    check_adapter(adapter, 16, read_base_shapes(base))
    shape = read_lora(adapter)
    assert shape["lora_rslora"] == (kind == "rslora")
    assert set(shape["lora_target_modules"]) == set(
        KINDS[kind].get("target_modules", KINDS["7 modules"]["target_modules"])
    )
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert (config["use_dora"], config["init_lora_weights"]) == (False, True)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_that_begins_says_what_the_base_says(base: Path, kind: str) -> None:
    import torch

    from trainer.adapter import attach_lora
    from trainer.base_model import load_base_model
    from trainer.pissa import take_out

    source, tokens = BaseModelSource(source=str(base)), torch.arange(3, 60)[None]
    with torch.no_grad():
        of_base = load_base_model(source, "cpu").eval()(input_ids=tokens).logits
        model = attach_lora(load_base_model(source, "cpu"), lora(kind), seed=7).eval()
        if kind == "pissa":
            take_out(model)
            assert (model(input_ids=tokens).logits - of_base).abs().max() < 1e-5
        else:
            assert torch.equal(model(input_ids=tokens).logits, of_base)


@pytest.mark.parametrize("kind", KINDS)
def test_twice_the_alpha_is_twice_the_change(train: Train, tmp_path: Path, kind: str) -> None:
    import torch

    once, twice = (changes_of(train(kind).adapter, tmp_path, factor=factor) for factor in (1, 2))
    assert once
    for name, change in once.items():
        assert torch.equal(twice[name], 2 * change)


def changes_of(adapter: Path, scratch: Path, *, factor: int) -> dict[str, Any]:
    from peft import LoraConfig
    from safetensors.torch import load_file

    config = json.loads((adapter / "adapter_config.json").read_text())
    config["lora_alpha"] *= factor
    (scratch / "adapter_config.json").write_text(json.dumps(config))
    read = LoraConfig.from_pretrained(str(scratch))
    scaling = read.lora_alpha / (read.r**0.5 if read.use_rslora else read.r)
    tensors = load_file(adapter / "adapter_model.safetensors")
    names = [name.removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight")]
    return {name: scaling * tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"] for name in names}


@pytest.mark.parametrize("kind", ["lora", "rslora", "dora", "pissa"])
def test_a_run_that_is_resumed_ends_in_the_same_bytes(base: Path, train: Train, tmp_path: Path, kind: str) -> None:
    """From every checkpoint that is left: of an epoch's end, and of one between."""
    whole = train(kind)
    checkpoints = list_checkpoints(whole.checkpoints)
    assert len(checkpoints) >= 2
    for checkpoint in checkpoints[:-1]:
        spec = spec_of(base, kind, attempt=2, resume_from=checkpoint)
        resumed = train_here(make_run(tmp_path / checkpoint.name, spec, n_examples=10))
        assert progress(resumed)
        for name in ("adapter_model.safetensors", "golden_samples.json", "reproduction.json"):
            assert (resumed.adapter / name).read_bytes() == (whole.adapter / name).read_bytes()


@pytest.mark.parametrize("kind", ["lora", "dora", "pissa"])
def test_the_checkpoint_of_an_epoch_is_proven_as_the_result_is(train: Train, kind: str) -> None:
    run = train(kind)
    (epoch,) = [event for event in checkpoints_saved(run) if event.epoch == 1]
    adapter = run.root / epoch.directory / "adapter"
    samples = GoldenSamples.model_validate_json((adapter / "golden_samples.json").read_bytes())
    assert reproduction(adapter).is_faithful
    assert samples != GoldenSamples.model_validate_json((run.adapter / "golden_samples.json").read_bytes())
    last = run.root / checkpoints_saved(run)[-1].directory / "adapter"  # the result stands for it
    assert last.exists() == (kind == "lora")
    assert not (last / "golden_samples.json").exists()


def test_what_does_not_do_what_was_trained_is_not_published(base: Path, tmp_path: Path) -> None:
    from trainer.failures import NotReproduced, describe

    spec = spec_of(base, "dora", serving=ServingLimits(max_rank=8, max_error=1e-4))
    run = make_run(tmp_path / "run", spec, n_examples=10)
    with pytest.raises(NotReproduced, match=r"plain LoRA of rank 8, its logits are .*, and 0\.01% is allowed") as error:
        train_here(run)
    assert describe(error.value).code == "not_reproduced"
    assert not run.adapter.exists()
    assert not any((path / "adapter").exists() for path in list_checkpoints(run.checkpoints))
    (note,) = [event for event in events(run) if isinstance(event, Note)]
    assert note.level == "warn"
    assert "checkpoint of step 2 is not published" in note.message


def test_pissa_begins_as_peft_has_it_begin(base: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    from trainer.adapter import attach_lora
    from trainer.base_model import load_base_model
    from trainer.pissa import take_out

    source = BaseModelSource(source=str(base))
    ours = attach_lora(load_base_model(source, "cpu"), lora("pissa"), seed=7)
    beginning = take_out(ours)
    config = LoraConfig(r=4, lora_alpha=8, init_lora_weights="pissa", target_modules="all-linear")
    theirs = dict(get_peft_model(load_base_model(source, "cpu"), config).named_parameters())
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, theirs[name]), name
    again = attach_lora(load_base_model(source, "cpu"), lora("pissa"), seed=8)
    take_out(again, beginning)
    assert all(torch.equal(one, other) for one, other in zip(ours.parameters(), again.parameters(), strict=True))


def test_dora_trains_a_magnitude_for_each_output(base: Path) -> None:
    from trainer.adapter import attach_lora
    from trainer.base_model import load_base_model
    from trainer.model_shape import read_shape

    source = BaseModelSource(source=str(base))
    shape = read_shape(source)
    assert shape is not None
    model = attach_lora(load_base_model(source, "cpu"), lora("dora"), seed=7)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trained == lora_parameters(shape, rank=4, has_magnitudes=True)


def test_a_layer_that_the_base_does_not_have_is_named(base: Path) -> None:
    from trainer.adapter import attach_lora
    from trainer.base_model import load_base_model
    from trainer.failures import BaseModelUnavailable

    settings = lora("lora").model_copy(update={"target_modules": ("q_proj", "query")})
    with pytest.raises(BaseModelUnavailable, match=r"named query\. It has down_proj, gate_proj"):
        attach_lora(load_base_model(BaseModelSource(source=str(base)), "cpu"), settings, seed=7)


@pytest.mark.parametrize("kind", ["dora", "pissa"])
@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_preferences_train_the_other_kinds_too(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: MethodName, kind: str
) -> None:
    """The reference is what the model said before it was trained, which is what the base says."""
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    run = train_here(make_preference_run(tmp_path / "run", preference_spec(base, method, lora=lora(kind))))
    assert reproduction(run.adapter).is_faithful
    assert progress(run)[0].metrics.train_loss == pytest.approx(AT_THE_REFERENCE[method], abs=1e-3)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_the_estimated_peak_of_memory_is_near_the_measured_one(base: Path, train: Train, kind: str) -> None:
    from trainer.model_shape import read_shape

    last, shape = events(train(kind))[-1], read_shape(BaseModelSource(source=str(base)))
    assert isinstance(last, Succeeded)
    assert last.measured is not None
    assert shape is not None
    peaks = []
    for batch in batches_of(train(kind), base):  # each step is one micro-batch
        tokens = len(batch) * max(ids.shape[1] for ids, _ in batch)
        labelled = sum(int((labels != -100).sum()) for _, labels in batch)
        plan = spec_of(base, kind).memory
        load = Load(shape, plan, "cpu", tokens, labelled, rank=4, is_dora=kind == "dora")
        peaks.append(estimate_memory(load).peak)
    assert max(peaks) == pytest.approx(last.measured.peak_tensor_bytes, rel=0.2)
