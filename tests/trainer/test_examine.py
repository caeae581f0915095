"""An adapter made by PEFT alone, loaded onto a base model: sampled, or known not to be the base's."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trainer_runs import make_base

from trainer.__main__ import main
from trainer.contract.examine import ExamineOutcome, ExamineSpec
from trainer.contract.golden import GOLDEN_SAMPLES, GoldenSamples
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource

pytestmark = [pytest.mark.trainer, pytest.mark.timeout(300)]

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], rank_pattern={"down_proj": 2})
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.fixture
def examined(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], ExamineOutcome]:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # as the trainer has it; other tests want it back

    def examine() -> ExamineOutcome:
        run = RunDirectory(tmp_path)
        source = BaseModelSource(source=str(base))
        run.write_examine_spec(ExamineSpec(base_model=source, adapter=adapter, context_length_tokens=64, threads=1))
        assert main(["examine", str(tmp_path)]) == 0
        outcome = run.read_examine_outcome()
        assert outcome is not None
        return outcome

    return examine


def change_tensors(adapter: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import load_file, save_file

    save_file(change(load_file(adapter / WEIGHTS)), adapter / WEIGHTS)


def test_an_adapter_that_fits_has_its_golden_samples_taken(
    examined: Callable[[], ExamineOutcome], tmp_path: Path
) -> None:
    report = examined().report

    golden = GoldenSamples.model_validate_json((tmp_path / GOLDEN_SAMPLES).read_bytes())
    assert report is not None
    assert report.base_gap == golden.base_gap > 0
    assert report.adapter_parameters < report.base_parameters


def test_its_samples_are_taken_on_the_form_of_the_base_that_serves(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what looking on the plain base keeps away from its process is put back."""
    monkeypatch.setitem(sys.modules, "bitsandbytes", importlib.import_module("bitsandbytes"))
    of_forms = []
    for form in ("nf4", None):
        run = RunDirectory(tmp_path)
        source = BaseModelSource(source=str(base))
        run.write_examine_spec(
            ExamineSpec(base_model=source, quantization=form, adapter=adapter, context_length_tokens=64, threads=1)  # type: ignore[arg-type]  # one of its words
        )
        assert main(["examine", str(tmp_path)]) == 0
        outcome = run.read_examine_outcome()
        assert outcome is not None
        assert outcome.report is not None
        of_forms.append(GoldenSamples.model_validate_json((tmp_path / GOLDEN_SAMPLES).read_bytes()))
        assert outcome.report.base_parameters == 28_896
    assert [golden.quantization for golden in of_forms] == ["nf4", None]
    assert of_forms[0].samples != of_forms[1].samples


UNFIT: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "of modules under another name": (
        lambda tensors: {name.replace("model.layers", "model.text.layers"): t for name, t in tensors.items()},
        "no module for base_model.model.model.text.layers.0.",
    ),
    "without a module's weights": (
        lambda tensors: {name: t for name, t in tensors.items() if "layers.0.mlp" not in name},
        "no weights for base_model.model.model.layers.0.mlp.down_proj.lora_A.default.weight and 1 more",
    ),
    "of another size": (
        lambda tensors: {name: t.repeat(1, 2) for name, t in tensors.items()},
        "PEFT cannot load it",
    ),
    "that changes nothing": (
        lambda tensors: {name: t * 0 for name, t in tensors.items()},
        "changes nothing of what the base model says",
    ),
}


@pytest.mark.parametrize(("change", "words"), UNFIT.values(), ids=UNFIT)
def test_an_adapter_is_refused_by_its_words(
    examined: Callable[[], ExamineOutcome],
    adapter: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    words: str,
) -> None:
    change_tensors(adapter, change)

    assert words in (examined().unfit or "")
    assert not (tmp_path / GOLDEN_SAMPLES).exists()


def test_a_config_that_peft_does_not_take_is_a_misfit(examined: Callable[[], ExamineOutcome], adapter: Path) -> None:
    config = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps(config | {"target_modules": ["no_such"]}))

    assert "PEFT cannot load it" in (examined().unfit or "")
