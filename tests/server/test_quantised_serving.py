"""Base models that their engines serve in 4 bits: what is refused at the start, what follows for jobs and memory."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from inference.base_shapes import stored_in
from server.base_models import BaseModels, BaseModelsInvalid, load_base_models
from server.bootstrap import build_services
from server.engine_assembly import build_engine_commands, build_full_engine_command
from server.errors import InvalidRequest
from server.fine_tuning.asked.hyperparameters import TunedHyperparameters
from server.fine_tuning.asked.quantised_files import refuse_on_quantised_files
from server.fine_tuning.asked.servable_adapters import Base, Refusal, route_of
from server.fine_tuning.hyperparameters import wanted_quantization
from server.fine_tuning.serving_contract import look_at
from server.placement.facts import Policy
from server.placement.machine import engine_bytes, nf4_bytes, weights_bytes
from server.placement.sizing import GIB, EngineSize, Machine, Wishes, place_on_cpu, place_on_gpus, size_of_full
from server.quantised_serving import is_quantised, refuse_what_cannot_be_quantised
from server.record.manifest import read_manifest
from server.vocabulary import JobStatus
from tests.adapter_files import write_tensors
from tests.foreign_adapters import DEMO
from tests.job_rig import TWO_STEPS, MakeRig
from tests.running_api import make_settings
from tests.server.test_servable_adapters import wanted


def make_base(root: Path, *, config: object = None, experts: bool = False) -> Path:
    """A layer of 64 by 32 numbers, and an embedding of 100 by 32."""
    root.mkdir()
    (root / "config.json").write_text(json.dumps(config or {}))
    layer = "model.layers.0.mlp.experts.0.up_proj.weight" if experts else "model.layers.0.mlp.up_proj.weight"
    shapes = {layer: [64, 32], "model.layers.0.input_layernorm.weight": [32], "model.embed_tokens.weight": [100, 32]}
    tensors = {name: ("BF16", shape, bytes(2 * math.prod(shape))) for name, shape in shapes.items()}
    write_tensors(root / "model.safetensors", tensors)
    return root


def list_bases(root: Path, *more: str) -> BaseModels:
    file = root / "base_models.toml"
    lines = ["[[base_model]]", 'name = "m"', 'source = "base"', "context_length = 64", *more]
    file.write_text("\n".join(lines))
    return load_base_models(file)


NF4 = 'serve_quantized = "nf4"'


def test_only_what_an_engine_makes_can_be_asked_for(tmp_path: Path) -> None:
    make_base(tmp_path / "base")
    assert list_bases(tmp_path, NF4).entries[0].serve_quantized == "nf4"
    assert list_bases(tmp_path).entries[0].serve_quantized is None
    for other in ('"int8"', '"fp8"', "true", "4"):
        with pytest.raises(BaseModelsInvalid, match=r"'serve_quantized': .*vLLM quantises a model to 'nf4'"):
            list_bases(tmp_path, f"serve_quantized = {other}")


@pytest.mark.parametrize(
    ("config", "experts", "has_quantisation", "reason"),
    [
        ({}, False, False, "vllm-bnb-plugin: run `make install`"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, False, True, r"quantised \(bitsandbytes\)"),
        ({"quantization_config": {"quant_method": "gptq"}}, False, True, r"quantised \(gptq\)"),
        ({}, True, True, "a mixture of experts"),
    ],
)
def test_what_an_engine_cannot_make_is_refused_before_anything_starts(
    tmp_path: Path, config: object, experts: bool, has_quantisation: bool, reason: str
) -> None:
    make_base(tmp_path / "base", config=config, experts=experts)
    with pytest.raises(BaseModelsInvalid, match=f"'m': serve_quantized cannot be had: .*{reason}"):
        refuse_what_cannot_be_quantised(list_bases(tmp_path, NF4), has_quantisation=has_quantisation)
    refuse_what_cannot_be_quantised(list_bases(tmp_path), has_quantisation=has_quantisation)


def test_a_dense_base_and_one_that_is_not_here_yet_are_let_through(tmp_path: Path) -> None:
    make_base(tmp_path / "base")
    refuse_what_cannot_be_quantised(list_bases(tmp_path, NF4), has_quantisation=True)
    (tmp_path / "base_models.toml").write_text(
        f'[[base_model]]\nname = "m"\nsource = "nobody/nothing"\ncontext_length = 64\n{NF4}\n'
    )
    refuse_what_cannot_be_quantised(load_base_models(tmp_path / "base_models.toml"), has_quantisation=True)


def test_the_form_of_a_bases_own_files_is_read(tmp_path: Path) -> None:
    own = make_base(tmp_path / "base", config={"quantization_config": {"quant_method": "bitsandbytes"}})
    assert stored_in(own) == "bitsandbytes"
    assert is_quantised(list_bases(tmp_path).entries[0])
    assert stored_in(tmp_path) is None


def test_the_engine_is_told_and_that_of_a_full_model_is_not(tmp_path: Path) -> None:
    make_base(tmp_path / "base")
    list_bases(tmp_path, NF4)
    settings = make_settings(tmp_path / "home", base_models_file=tmp_path / "base_models.toml")
    services = build_services(settings)
    services.database.dispose()
    (of_base,) = build_engine_commands(settings, services.base_models, services.placement)
    base, (size,) = services.base_models.entries[0], services.placement.sizes
    of_full = build_full_engine_command(settings, base, size_of_full(size, "ft:m:a::12345678"), Policy.SHARE)
    assert "--quantization bitsandbytes" in " ".join(of_base.argv)
    assert "--quantization" not in of_full.argv


def test_memory_is_counted_for_the_weights_as_they_are_held(tmp_path: Path) -> None:
    base = str(make_base(tmp_path / "base"))
    assert nf4_bytes(base) == 64 * 32 * 9 // 16 + (32 + 100 * 32) * 2
    assert engine_bytes(base, 1, is_quantised=True) == nf4_bytes(base) + GIB + 3 * GIB // 2
    assert engine_bytes(base, 1) == 2 * weights_bytes(base) + GIB + 3 * GIB // 2
    assert nf4_bytes(str(tmp_path / "nowhere")) == 0


def test_a_full_model_is_as_large_as_its_base_before_it_was_quantised() -> None:
    cpu = Machine(has_gpu=False, main_bytes=100 * GIB)
    _, (size,) = place_on_cpu(cpu, Wishes(), {"m": 3 * GIB}, {"m": 8 * GIB})
    assert size_of_full(size, "f") == EngineSize("f", 8 * GIB, on_demand=True)
    gpu = Machine(has_gpu=True, main_bytes=0, gpu_bytes={0: 100 * GIB})
    weights = {"m": 4 * GIB, "n": 4 * GIB, "o": 4 * GIB, "p": 4 * GIB}
    _, sizes = place_on_gpus(gpu, Wishes(), weights, {"m": 16 * GIB})
    full = size_of_full(sizes[0], "f")
    assert sizes[0].needed_bytes == 45 * GIB // 4
    assert full.needed_bytes == round(16 * GIB * 1.15) + 3 * GIB
    assert full.gpu_share == pytest.approx(full.needed_bytes / (100 * GIB), abs=1e-3)
    assert size_of_full(sizes[1], "g") == EngineSize("g", 45 * GIB // 4, gpu_share=sizes[1].gpu_share, on_demand=True)


def test_an_adapter_is_trained_on_what_serves_it_unless_the_job_says_otherwise() -> None:
    assert wanted_quantization({}, "nf4") == "nf4"
    assert wanted_quantization({"quantization": "auto"}, "nf4") == "nf4"
    assert wanted_quantization({"quantization": "none"}, "nf4") is None
    assert wanted_quantization({"quantization": "int8"}, "nf4") == "int8"
    assert wanted_quantization({}) == "auto"
    assert wanted_quantization({"adapter": {"type": "full"}}, "nf4") == "auto", "no weight of its own stays as it is"


@pytest.mark.parametrize("variant", ["dora", "pissa"])
def test_kinds_that_need_unquantised_weights_are_refused(variant: str, tmp_path: Path) -> None:
    make_base(tmp_path / "base")
    on_quantised = look_at(list_bases(tmp_path, NF4).entries[0])
    assert on_quantised == Base({"up_proj": 32}, served_in="nf4")
    found = route_of(wanted({"type": variant}, base=on_quantised))
    assert isinstance(found, Refusal)
    assert found.option == "type"
    assert "served in nf4" in found.message
    assert route_of(wanted({}, base=on_quantised)) == "as it is"


@pytest.mark.parametrize(
    ("stored_in", "asked", "trains_all", "param"),
    [
        ("gptq", {}, False, "model"),
        ("bitsandbytes", {}, True, "here.adapter.type"),
        ("bitsandbytes", {"quantization": "nf4"}, False, "here.quantization"),
        ("bitsandbytes", {"quantization": "int8"}, False, "here.quantization"),
    ],
)
def test_what_cannot_be_trained_on_quantised_files_is_refused_by_name(
    stored_in: str, asked: dict[str, Any], trains_all: bool, param: str
) -> None:
    hyperparameters = TunedHyperparameters(**asked)
    with pytest.raises(InvalidRequest) as refusal:
        refuse_on_quantised_files(hyperparameters, place="here", stored_in=stored_in, trains_all=trains_all)
    assert refusal.value.param == param
    refuse_on_quantised_files(hyperparameters, place="here", stored_in=None, trains_all=trains_all)


def test_an_adapter_is_trained_on_bitsandbytes_files_as_they_are() -> None:
    for asked in ({}, {"quantization": "none"}, {"quantization": "auto"}):
        hyperparameters = TunedHyperparameters(**asked)
        refuse_on_quantised_files(hyperparameters, place="here", stored_in="bitsandbytes", trains_all=False)
        assert wanted_quantization(asked, stored_in="bitsandbytes") is None


@pytest.mark.parametrize(("asked", "trained_in"), [({}, "nf4"), ({"quantization": "none"}, None)])
def test_a_run_is_told_what_its_adapter_is_served_on(
    make_rig: MakeRig, tmp_path: Path, asked: dict[str, Any], trained_in: str | None
) -> None:
    file = tmp_path / "base_models.toml"
    file.write_text(f'[[base_model]]\nname = "tunesmith-demo"\nsource = "{DEMO}"\ncontext_length = 1024\n{NF4}\n')
    rig = make_rig(base_models_file=file)
    job = rig.finish(rig.make_job(requested_hyperparameters=TWO_STEPS | asked))
    told = rig.messages(job)
    manifest = read_manifest(next(rig.services.settings.adapters.iterdir()))
    assert job.status == JobStatus.SUCCEEDED, told
    assert manifest is not None
    assert (manifest.served_in, manifest.settings["serving"]["quantization"]) == ("nf4", "nf4")  # type: ignore[index, call-overload]
    assert manifest.settings["memory"]["quantization"] == trained_in  # type: ignore[index, call-overload]
    assert any("is served in 4 bits" in message for message in told) == (trained_in == "nf4")
