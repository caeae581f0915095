"""What becomes of an adapter made elsewhere: one of ours, or a refusal that names the fault and what would work."""

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference.tensor_file import read_header
from server.adapter_imports.rebuilding import Rebuilt, rebuild
from server.errors import InvalidRequest
from tests.foreign_adapters import BASE, CONFIG, LAYERS, WEIGHTS, name_of, tensors_of, weights, write_foreign


@pytest.fixture
def rebuilt(tmp_path: Path) -> Callable[[Path], Rebuilt]:
    def make(source: Path) -> Rebuilt:
        (tmp_path / "ours").mkdir()
        return rebuild(source, tmp_path / "ours", BASE, max_rank=16)

    return make


def our_config(tmp_path: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((tmp_path / "ours" / CONFIG).read_text())
    return config


def test_the_config_is_written_anew_and_nothing_unknown_is_taken_over(
    tmp_path: Path, rebuilt: Callable[[Path], Rebuilt]
) -> None:
    assert rebuilt(write_foreign(tmp_path / "theirs")).rank == 4

    assert our_config(tmp_path) == {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "use_rslora": False,
        "bias": "none",
        "init_lora_weights": True,
        "target_modules": ["q_proj"],
        "rank_pattern": {},
        "alpha_pattern": {},
    }


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_the_numbers_are_taken_over_and_nothing_else_of_their_file(
    tmp_path: Path, rebuilt: Callable[[Path], Rebuilt], dtype: str
) -> None:
    tensors = tensors_of(dtype=dtype)
    theirs = write_foreign(tmp_path / "theirs", weights(tensors, {"note": "/srv/somebody"}))

    rebuilt(theirs)

    data = (tmp_path / "ours" / WEIGHTS).read_bytes()
    found = read_header(tmp_path / "ours" / WEIGHTS)
    assert {name: data[tensor.begin : tensor.end] for name, tensor in found.items()} == {
        name: numbers for name, (_, _, numbers) in tensors.items()
    }
    assert b"somebody" not in data


def test_two_files_of_the_same_numbers_become_the_same_bytes(tmp_path: Path) -> None:
    results = []
    for number, metadata in enumerate(({}, {"note": "x" * 100})):
        source = write_foreign(tmp_path / f"theirs-{number}", weights(tensors_of(), metadata))
        ours = tmp_path / f"ours-{number}"
        ours.mkdir()
        results.append((rebuild(source, ours, BASE, max_rank=16), (ours / CONFIG).read_bytes()))
    assert results[0] == results[1]


def test_ranks_and_alphas_of_single_modules_are_written_out(tmp_path: Path, rebuilt: Callable[[Path], Rebuilt]) -> None:
    tensors = tensors_of(rank=8, layers=LAYERS[:1]) | tensors_of(rank=2, layers=LAYERS[1:])
    patterns = {"rank_pattern": {"layers.1.self_attn.q_proj": 2}, "alpha_pattern": {"0.self_attn.q_proj": 32}}
    theirs = write_foreign(tmp_path / "theirs", tensors, r=8, use_rslora=True, init_lora_weights="gaussian", **patterns)

    assert rebuilt(theirs).rank == 8

    found = our_config(tmp_path)
    assert (found["r"], found["lora_alpha"], found["use_rslora"]) == (8, 8, True)
    assert found["rank_pattern"] == {f"model.{LAYERS[1]}": 2}
    assert found["alpha_pattern"] == {f"model.{LAYERS[0]}": 32.0}


def test_an_adapter_of_some_layers_names_them_whole(tmp_path: Path, rebuilt: Callable[[Path], Rebuilt]) -> None:
    rebuilt(write_foreign(tmp_path / "theirs", tensors_of(layers=LAYERS[1:]), layers_to_transform=[1]))

    assert our_config(tmp_path)["target_modules"] == [f"model.{LAYERS[1]}"]


def test_a_regex_of_modules_is_not_run(tmp_path: Path, rebuilt: Callable[[Path], Rebuilt]) -> None:
    rebuilt(write_foreign(tmp_path / "theirs", target_modules="(a+)+$"))

    assert our_config(tmp_path)["target_modules"] == ["q_proj"]


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "DoRA": ({"use_dora": True}, "'use_dora'.*plain LoRA"),
    "biases of factors": ({"lora_bias": True}, "'lora_bias'"),
    "biases": ({"bias": "lora_only"}, "bias 'none'"),
    "whole modules": ({"modules_to_save": ["lm_head"]}, "'modules_to_save'.*Train it without"),
    "trained tokens": ({"trainable_token_indices": [1]}, "'trainable_token_indices'"),
    "parameters of experts": ({"target_parameters": ["mlp.experts.down_proj"]}, "'target_parameters'"),
    "replicated layers": ({"layer_replication": [[0, 1], [0, 1]]}, "'layer_replication'"),
    "activated LoRA": ({"alora_invocation_tokens": [1]}, "'alora_invocation_tokens'"),
    "transposed factors": ({"fan_in_fan_out": True}, "'fan_in_fan_out'"),
    "QALoRA": ({"use_qalora": True}, "'use_qalora'"),
    "a method of tomorrow": ({"use_tomorrow": True}, "'use_tomorrow', which is not known"),
    "settings of a method of tomorrow": ({"tomorrow_config": {"x": 1}}, "'tomorrow_config'"),
    "PiSSA": ({"init_lora_weights": "pissa"}, "path_initial_model_for_weight_conversion"),
    "PiSSA by iteration": ({"init_lora_weights": "pissa_niter_4"}, "path_initial_model_for_weight_conversion"),
    "OLoRA": ({"init_lora_weights": "olora"}, "path_initial_model_for_weight_conversion"),
    "CorDA": ({"init_lora_weights": "corda"}, "path_initial_model_for_weight_conversion"),
    "LoftQ": ({"init_lora_weights": "loftq"}, "path_initial_model_for_weight_conversion"),
    "an init that is no word": ({"init_lora_weights": 1}, "init_lora_weights"),
    "another method": ({"peft_type": "ADALORA"}, "'ADALORA'; LORA is served"),
    "no method": ({"peft_type": None}, "LORA is served"),
    "a classifier": ({"task_type": "SEQ_CLS"}, "'SEQ_CLS'"),
    "a rank that is none": ({"r": "4"}, "not a rank"),
    "a rank of nothing": ({"r": 0}, "not a rank"),
    "an alpha that is none": ({"lora_alpha": math.nan}, "not an alpha"),
    "an alpha beyond any": ({"lora_alpha": 10**400}, "not an alpha"),
    "an alpha far too large": ({"lora_alpha": 4 * 256 + 1}, "scaling"),
    "another rank than its factors": ({"r": 8}, "have the rank 4, and the config says 8"),
    "another rank of a module": ({"rank_pattern": {"q_proj": 8}}, "have the rank 4, and the config says 8"),
    "a regex of modules": ({"rank_pattern": {"(.*a)*$": 4}}, "rank_pattern names .* no module"),
    "a pattern that is a list": ({"alpha_pattern": [1]}, "alpha_pattern is not an object"),
    "no modules": ({"target_modules": None}, "not a list of names"),
    "modules of numbers": ({"target_modules": [1]}, "not a list of names"),
    "other modules than its factors": ({"target_modules": ["k_proj"]}, "which target_modules do not name"),
    "more modules than its factors": ({"target_modules": ["q_proj", "o_proj"]}, "no weights for 'layers.0.self_attn.o"),
}


@pytest.mark.parametrize(("config", "words"), CONFIGS.values(), ids=CONFIGS)
def test_what_a_config_says_that_is_not_served_is_refused_by_name(
    tmp_path: Path, rebuilt: Callable[[Path], Rebuilt], config: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words) as refused:
        rebuilt(write_foreign(tmp_path / "theirs", **config))
    assert (refused.value.param, refused.value.code) == ("file", "unusable_adapter")


def with_number(value: float) -> bytes:
    """The last number of the last tensor is this one."""
    return weights(tensors_of())[:-4] + struct.pack("<f", value)


def extra(name: str, shape: list[int], dtype: str = "F32") -> bytes:
    width = 8 if dtype == "F64" else 4
    return weights(tensors_of() | {name: (dtype, shape, bytes(width * math.prod(shape)))})


SOUND = weights(tensors_of())
DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "damaged, cut short"),
    "cut in the header": (SOUND[:100], "damaged, cut short"),
    "cut in the numbers": (SOUND[:-1], "damaged, cut short"),
    "something behind the numbers": (SOUND + b"\0", "damaged, cut short"),
    "a pickle": (b"PK\x03\x04" + SOUND, "damaged, cut short"),
    "a header longer than the file": (struct.pack("<Q", 2**63) + SOUND[8:], "damaged, cut short"),
    "a header far too large": (struct.pack("<Q", 17 * 2**20) + b" " * (17 * 2**20), "damaged, cut short"),
    "a header that is deep": (struct.pack("<Q", 100_000) + b"[" * 100_000, "damaged, cut short"),
    "a tensor twice": (SOUND.replace(b"layers.1", b"layers.0"), "damaged, cut short"),
    "not a number": (with_number(math.nan), "not finite"),
    "infinity": (with_number(-math.inf), "not finite"),
    "nearly infinity": (with_number(1e38), "not finite"),
    "zero throughout": (weights(tensors_of(fill=b"\0")), "never trained"),
    "64-bit floats": (weights(tensors_of(dtype="F64")), "format F64.*F32, F16, BF16"),
    "whole numbers": (weights(tensors_of(dtype="I32")), "format I32"),
    "a rank beyond the server's": (weights(tensors_of(rank=32)), "TUNESMITH_MAX_LORA_RANK"),
    "one factor": (weights(dict(list(tensors_of().items())[:3])), "one factor"),
    "one layer": (weights(tensors_of(layers=LAYERS[:1])), "no weights for 'layers.1"),
    "a magnitude": (extra("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", [12]), "DoRA"),
    "a bias": (extra("base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias", [12]), "a bias"),
    "a weight of the base": (extra("base_model.model.lm_head.base_layer.weight", [12, 8]), "the base model's own"),
    "an embedding": (extra("base_model.model.model.embed_tokens.lora_embedding_A", [4, 8]), "an embedding"),
    "a tensor of nobody": (extra("hello", [4, 8]), "'hello' is not a factor"),
    "a name that is a path": (extra("base_model.model.../../etc/x.lora_A.weight", [4, 8]), "not a factor"),
    "three dimensions": (extra(name_of("layers.0.mlp.up", "A"), [2, 4, 8]), "3 dimensions"),
    "a layer that the base has not": (weights(tensors_of(layers=(*LAYERS, "layers.2.q_proj"))), "no linear layer"),
    "the last layer": (extra("base_model.model.lm_head.lora_A.weight", [4, 8]), "one factor"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "words"), DAMAGED.values(), ids=DAMAGED)
def test_weights_that_are_not_a_sound_lora_are_refused(
    tmp_path: Path, rebuilt: Callable[[Path], Rebuilt], data: bytes, words: str
) -> None:
    rank = 32 if "MAX_LORA_RANK" in words else 4
    with pytest.raises(InvalidRequest, match=words):
        rebuilt(write_foreign(tmp_path / "theirs", data, r=rank))


def test_an_adapter_of_another_base_model_is_refused_with_both_sizes(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    larger = {place: frozenset({(24, 16)}) for place in BASE}
    with pytest.raises(InvalidRequest, match=r"from 8 to 12 numbers, and the base model's from 16 to 24"):
        rebuild(write_foreign(tmp_path / "theirs"), tmp_path / "ours", larger, max_rank=16)


@pytest.mark.parametrize("config", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"r": ' + b"9" * 10_000 + b"}"])
def test_a_config_that_is_no_object_is_refused(
    tmp_path: Path, rebuilt: Callable[[Path], Rebuilt], config: bytes
) -> None:
    (write_foreign(tmp_path / "theirs") / CONFIG).write_bytes(config)
    with pytest.raises(InvalidRequest, match=CONFIG):
        rebuilt(tmp_path / "theirs")
