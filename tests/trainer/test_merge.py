"""An adapter, merged into its base and compared with PEFT's own; the command is in acceptance."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from trainer_runs import MARKED_TEMPLATE, make_base

from trainer.contract.merge import MergeReport, MergeSpec
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource, LoraSettings
from trainer.failures import TrainerError

pytestmark = [pytest.mark.trainer, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def base_16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that is stored in 16 bits, as real ones are."""
    import torch
    from transformers import AutoModelForCausalLM

    directory = make_base(tmp_path_factory.mktemp("base") / "base")
    model = AutoModelForCausalLM.from_pretrained(directory).to(torch.bfloat16)
    model.generation_config.max_new_tokens = 17
    model.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def trained(base_16: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that moves its base a lot, written as the trainer writes one."""
    import torch

    from trainer.adapter import attach_lora, copy_adapter
    from trainer.adapter_files import write_adapter
    from trainer.base_model import load_base_model
    from trainer.plain_lora import as_trained

    lora = LoraSettings(rank=4, alpha=8, dropout=0, target_modules="all-linear")
    model = attach_lora(load_base_model(BaseModelSource(source=str(base_16)), "cpu"), lora, seed=7)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    directory = tmp_path_factory.mktemp("adapter") / "adapter"
    write_adapter(directory, model.peft_config["default"], as_trained(copy_adapter(model), lora), step=1)
    return directory


def make_merge(base: Path, adapter: Path, **overrides: Any) -> MergeSpec:
    values = {"base_model": BaseModelSource(source=str(base)), "adapter": adapter, "tolerance": 1e-4, "threads": 1}
    return MergeSpec(**{**values, **overrides})


@pytest.fixture(scope="module")
def merged(base_16: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, MergeReport]:
    from trainer.merge import merge

    directory = RunDirectory(tmp_path_factory.mktemp("merge"))
    return directory, merge(directory, make_merge(base_16, trained))


def logits(model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(3, 300).reshape(3, -1)).logits


def test_the_merged_model_does_what_the_adapter_does(
    base_16: Path, trained: Path, merged: tuple[RunDirectory, MergeReport]
) -> None:
    """Measured here anew, on tokens that the trainer did not look at, with PEFT's own loading of the adapter."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    directory, report = merged
    assert report.logit_error <= 1e-4
    assert report.dtype == "bfloat16"
    assert report.adapter_effect > 20 * report.rounded_logit_error > 0

    plain = AutoModelForCausalLM.from_pretrained(base_16, dtype=torch.float32)
    of_base = logits(plain)
    of_adapter = logits(PeftModel.from_pretrained(plain, trained))
    stored = AutoModelForCausalLM.from_pretrained(directory.merged)
    of_merged = logits(AutoModelForCausalLM.from_pretrained(directory.merged, dtype=torch.float32))
    assert stored.dtype == torch.bfloat16
    assert (of_adapter - of_base).abs().max() > 20 * (of_merged - of_adapter).abs().max()


def test_tokenizer_template_and_generation_configuration_come_along(
    base_16: Path, merged: tuple[RunDirectory, MergeReport]
) -> None:
    from transformers import AutoTokenizer

    directory, _ = merged
    messages = [{"role": "user", "content": "what is the answer"}]
    before, after = (AutoTokenizer.from_pretrained(path) for path in (base_16, directory.merged))
    assert after.apply_chat_template(messages) == before.apply_chat_template(messages)
    assert after.chat_template == MARKED_TEMPLATE
    generation = json.loads((directory.merged / "generation_config.json").read_text())
    assert (generation["max_new_tokens"], generation["eos_token_id"]) == (17, 2)
    assert [path.name for path in directory.root.iterdir()] == ["merged"]


def test_a_template_of_the_operators_is_the_merged_models(base_16: Path, trained: Path, tmp_path: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages[0].content }}")
    source = BaseModelSource(source=str(base_16), chat_template_file=template)
    from trainer.merge import merge

    directory = RunDirectory(tmp_path)
    merge(directory, make_merge(base_16, trained, base_model=source))
    assert (directory.merged / "chat_template.jinja").read_text() == template.read_text()


@pytest.mark.parametrize(
    ("fault", "words"),
    [("nothing is good enough", "is allowed"), ("a cut file", "damaged"), ("another shape", "do not fit")],
)
def test_a_merge_that_does_not_hold_leaves_nothing(
    base_16: Path, trained: Path, tmp_path: Path, fault: str, words: str
) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for path in trained.iterdir():
        (adapter / path.name).write_bytes(path.read_bytes())
    config, weights = adapter / "adapter_config.json", adapter / "adapter_model.safetensors"
    if fault == "a cut file":
        os.truncate(weights, weights.stat().st_size // 2)
    elif fault == "another shape":
        config.write_text(json.dumps({**json.loads(config.read_text()), "r": 8}))
    from trainer.merge import merge

    spec = make_merge(base_16, adapter, tolerance=0 if fault == "nothing is good enough" else 1e-4)
    with pytest.raises(TrainerError, match=words) as caught:
        merge(RunDirectory(tmp_path), spec)
    assert str(tmp_path) not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"]


def test_doubling_alpha_doubles_the_delta(base_16: Path, trained: Path, tmp_path: Path) -> None:
    """Of every weight that the adapter touches, and of no other."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def deltas(factor: int) -> dict[str, Any]:
        adapter = tmp_path / str(factor)
        adapter.mkdir()
        for path in trained.iterdir():
            (adapter / path.name).write_bytes(path.read_bytes())
        config = json.loads((adapter / "adapter_config.json").read_text())
        (adapter / "adapter_config.json").write_text(
            json.dumps({**config, "lora_alpha": factor * config["lora_alpha"]})
        )
        base = AutoModelForCausalLM.from_pretrained(base_16, dtype=torch.float32)
        before = {name: tensor.clone() for name, tensor in base.named_parameters()}
        merged = PeftModel.from_pretrained(base, adapter).merge_and_unload()
        return {name: tensor.detach() - before[name] for name, tensor in merged.named_parameters()}

    once, twice, four_times = deltas(1), deltas(2), deltas(4)
    touched = [name for name, delta in once.items() if delta.abs().max() > 0]
    assert len(touched) == 2 * 7
    for name, delta in once.items():
        torch.testing.assert_close(twice[name], 2 * delta, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(four_times[name], 4 * delta, rtol=1e-4, atol=1e-6)
