"""The contract between training and serving, by table: as it is, converted, or refused with what would work."""

from pathlib import Path
from typing import Any

import openai
import pytest

from server.base_models import BaseModelEntry
from server.fine_tuning.adapter_options import AdapterOptions, resolve_adapter
from server.fine_tuning.asked.servable_adapters import Base, Parent, Refusal, Wanted, route_of
from server.fine_tuning.serving_contract import look_at
from tests.engine.conftest import BASE as DEMO

LAYERS = {
    "q_proj": 256,
    "k_proj": 128,
    "v_proj": 128,
    "o_proj": 256,
    "up_proj": 256,
    "gate_proj": 256,
    "down_proj": 256,
}
ON_DEMO = Base(LAYERS)
PLAIN = {
    "lora_variant": "lora",
    "lora_rank": 32,
    "lora_alpha": 32,
    "lora_rslora": False,
    "lora_target_modules": ("q_proj", "v_proj"),
}


def wanted(adapter: dict[str, Any], **more: Any) -> Wanted:
    return Wanted(adapter=AdapterOptions.model_validate(adapter), **{"max_rank": 64, "base": ON_DEMO, **more})


@pytest.mark.parametrize(
    "adapter",
    [
        {},
        {"type": "lora", "rank": 64},
        {"rank": 1, "alpha": 256},
        {"use_rslora": True, "rank": 16, "alpha": 1024},
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
        {"target_modules": list(LAYERS)},
        {"target_modules": "all-linear", "dropout": 0.05},
    ],
)
def test_a_plain_lora_is_served_as_it_is(adapter: dict[str, Any]) -> None:
    assert route_of(wanted(adapter)) == "as it is"


@pytest.mark.parametrize("adapter", [{"type": "dora", "rank": 64}, {"type": "pissa", "rank": 32}])
def test_other_kinds_are_converted(adapter: dict[str, Any]) -> None:
    assert route_of(wanted(adapter)) == "converted"
    assert route_of(wanted({"type": "dora"}, quantization="nf4")) == "converted"


@pytest.mark.parametrize(
    ("adapter", "more", "option", "advice"),
    [
        ({"rank": 65}, {}, "rank", "at most 64"),
        ({"rank": 17}, {"max_rank": 16}, "rank", "at most 16"),
        ({"type": "dora", "rank": 65}, {}, "rank", "at most 64"),
        ({"type": "pissa", "rank": 33}, {}, "rank", "of rank 66, and the engine serves ranks up to 64"),
        ({"type": "pissa", "rank": 33}, {}, "rank", "at most 32"),
        ({"type": "pissa", "rank": 129}, {"max_rank": 512}, "rank", "128 in the smallest"),
        ({"rank": 4, "alpha": 1025}, {}, "alpha", "at most 1024"),
        ({"rank": 4, "alpha": 513, "use_rslora": True}, {}, "alpha", "at most 512"),
        ({"target_modules": ["lm_head"]}, {}, "target_modules", "The base model has down_proj, gate_proj, k_proj"),
        ({"target_modules": ["embed_tokens"]}, {"base": Base()}, "target_modules", "Use 'all-linear'"),
        ({"target_modules": ["model.lm_head", "q_proj"]}, {}, "target_modules", "first and the last layer"),
        ({"target_modules": ["query"]}, {}, "target_modules", "named 'query'. The base model has down_proj"),
        ({"target_modules": ["input_layernorm"]}, {}, "target_modules", "no linear layer named 'input_layernorm'"),
        ({"type": "olora"}, {}, "type", "Use 'pissa'"),
        ({"type": "pissa_niter_16"}, {}, "type", "Use 'pissa', whose decomposition is exact"),
        ({"type": "AdaLoRA"}, {}, "type", "Use 'lora'"),
        ({"type": "ia3"}, {}, "type", "Use 'lora'"),
        ({"type": "qlora"}, {}, "type", "'quantization' 'nf4'"),
        ({"type": "rslora"}, {}, "type", "'use_rslora' true"),
        ({"type": "prompt_tuning"}, {}, "type", "Use 'lora', 'dora' or 'pissa'"),
        ({"type": "pissa"}, {"quantization": "nf4"}, "type", "Use 'lora' or 'dora'"),
        ({"type": "dora"}, {"base": Base(None, "gptq")}, "type", "quantised (gptq)"),
    ],
)
def test_what_no_engine_will_serve_is_refused_with_what_would_work(
    adapter: dict[str, Any], more: dict[str, Any], option: str, advice: str
) -> None:
    found = route_of(wanted(adapter, **more))
    assert isinstance(found, Refusal)
    assert found.option == option
    assert advice in found.message


@pytest.mark.parametrize(
    ("adapter", "option"),
    [
        ({}, None),
        ({"rank": 32, "dropout": 0.1}, None),
        ({"target_modules": ["v_proj", "q_proj"]}, None),
        ({"rank": 16}, "rank"),
        ({"alpha": 64}, "alpha"),
        ({"target_modules": ["q_proj"]}, "target_modules"),
        ({"use_rslora": True}, "use_rslora"),
        ({"type": "dora"}, "type"),
        ({"type": "pissa"}, "type"),
    ],
)
def test_training_on_from_a_model_keeps_the_shape_of_its_adapter(adapter: dict[str, Any], option: str | None) -> None:
    found = route_of(wanted(adapter, parent=Parent("ft:demo:acme::1", PLAIN)))
    assert (found.option if isinstance(found, Refusal) else None) == option


def test_a_parent_that_the_engine_no_longer_serves_is_refused() -> None:
    found = route_of(wanted({}, max_rank=16, parent=Parent("ft:demo:acme::1", PLAIN)))
    assert isinstance(found, Refusal)


@pytest.mark.parametrize(
    ("adapter", "max_rank", "rank", "alpha"),
    [
        ({}, 64, 16, 32),
        ({}, 8, 8, 16),
        ({"type": "pissa"}, 16, 8, 16),
        ({"rank": 4}, 64, 4, 8),
        ({"rank": 4, "alpha": 5}, 64, 4, 5),
    ],
)
def test_auto_keeps_to_what_the_engine_serves(adapter: dict[str, Any], max_rank: int, rank: int, alpha: int) -> None:
    resolved = resolve_adapter(AdapterOptions.model_validate(adapter), max_rank)
    assert (resolved["lora_rank"], resolved["lora_alpha"]) == (rank, alpha)
    assert not isinstance(route_of(wanted(adapter, max_rank=max_rank)), Refusal)


def test_the_layers_of_a_base_are_read_from_its_files(tmp_path: Path) -> None:
    assert look_at(BaseModelEntry(name="demo", source=str(DEMO), context_length=1024)) == ON_DEMO
    (tmp_path / "config.json").write_text('{"quantization_config": {"quant_method": "gptq"}}')
    assert look_at(BaseModelEntry(name="packed", source=str(tmp_path), context_length=16)) == Base(None, "gptq")
    assert look_at(BaseModelEntry(name="hub", source="nobody/nothing", context_length=16)) == Base()


def test_the_api_refuses_before_anything_is_trained(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.fine_tuning.jobs.create(
            model="tunesmith-demo",
            training_file="file-none",
            method={"type": "supervised", "supervised": {"hyperparameters": {"adapter": {"type": "ia3"}}}},  # type: ignore[typeddict-unknown-key]
        )
    assert refused.value.param == "method.supervised.hyperparameters.adapter.type"
    assert refused.value.code == "unsupported_value"
    assert "ia3" in str(refused.value)
