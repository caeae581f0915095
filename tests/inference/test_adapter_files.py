import hashlib
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference.adapter_files import check_adapter, check_weights, has_weights_of_note
from inference.base_shapes import place_of, read_base_shapes
from inference.engine import AdapterRejected
from tests.adapter_files import write_adapter, write_tensors

WEIGHTS = "adapter_model.safetensors"
Q_PROJ = "base_model.model.layers.0.q_proj"
CONFIG = "adapter_config.json"


def test_a_sound_adapter_passes(tmp_path: Path) -> None:
    check_adapter(write_adapter(tmp_path), max_rank=16)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (write_adapter(tmp_path) / name).unlink()
    with pytest.raises(AdapterRejected, match=f"{name} is missing"):
        check_adapter(tmp_path, max_rank=16)


@pytest.mark.parametrize("size", [0, 4, 8, 20, 200, -1])
def test_weights_cut_short_anywhere_are_refused(tmp_path: Path, size: int) -> None:
    path = write_adapter(tmp_path) / WEIGHTS
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(AdapterRejected, match="damaged or cut short"):
        check_adapter(tmp_path, max_rank=16)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a byte too many": lambda data: data + b"\0",
    "a header longer than the file": lambda data: struct.pack("<Q", 2**63) + data[8:],
    "an unknown number format": lambda data: data.replace(b'"F32"', b'"X32"'),
    "a shape that does not fit": lambda data: data.replace(b"[4, 8]", b"[4, 9]"),
    "no shape": lambda data: data.replace(b'"shape"', b'"shap"'),
    "a header that is noise": lambda data: data[:8] + b"\xff" * (len(data) - 8),
    "no tensors": lambda data: struct.pack("<Q", 2) + b"{}" + data[:0],
    "a list for a header": lambda data: struct.pack("<Q", 2) + b"[]" + data[:0],
    "a factor that is not LoRA's": lambda data: data.replace(b"lora_B", b"lora_C"),
    "a tensor twice": lambda data: data.replace(b"lora_B", b"lora_A"),
    "a part of a tensor twice": lambda data: data.replace(b'"dtype"', b'"shape"', 1),
    "a shape below nothing": lambda data: data.replace(b"[4, 8]", b"[-4,-8]").replace(b'": {"d', b'":{"d', 1),
    "offsets that overlap": lambda data: data.replace(b"[128, 256]", b"[0, 128]  "),
    "offsets that leave a hole": lambda data: data.replace(b"[128, 256]", b"[129, 257]"),
    "a size that is no whole number": lambda data: data.replace(b"[4, 8]", b"[4.,8]"),
    "numbers that are whole": lambda data: data.replace(b'"F32"', b'"I32"'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_weights_are_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = write_adapter(tmp_path) / WEIGHTS
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(AdapterRejected):
        check_adapter(tmp_path, max_rank=16)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"r": 32}, "rank"),
        ({"r": "4"}, "rank"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "biases"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"peft_type": "IA3"}, "not a LoRA"),
        ({"r": True}, "rank"),
        ({"rank_pattern": {"q_proj": 2}}, "not of the rank"),
        ({"rank_pattern": {"q_proj": 17}}, "rank"),
        ({"rank_pattern": {"q_proj": "4"}}, "rank"),
        ({"rank_pattern": {"(a+)+$": 4}}, "does not name modules"),
        ({"rank_pattern": ["q_proj"]}, "does not name modules"),
        ({"alpha_pattern": {"q_proj": 4 * 256 + 1}}, "scaling"),
        ({"alpha_pattern": {"q_proj": None}}, "lora_alpha"),
        ({"alpha_pattern": {".*q_proj": 8}}, "does not name modules"),
        ({"lora_alpha": math.nan}, "scaling"),
        ({"lora_alpha": math.inf}, "scaling"),
        ({"lora_alpha": 10**400}, "scaling"),
        ({"lora_alpha": 4 * 256 + 1}, "scaling"),
        ({"lora_alpha": 0}, "scaling"),
        ({"lora_alpha": "8"}, "lora_alpha"),
        ({"lora_alpha": None}, "lora_alpha"),
        ({"target_modules": ["k_proj"]}, "does not name"),
        ({"target_modules": ["proj"]}, "does not name"),
        ({"target_modules": None}, "does not name"),
    ],
)
def test_an_adapter_the_engine_would_not_serve_is_refused(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    write_adapter(tmp_path, config=config)
    with pytest.raises(AdapterRejected, match=words):
        check_adapter(tmp_path, max_rank=16)


def test_a_rank_and_an_alpha_can_be_of_single_modules(tmp_path: Path) -> None:
    of_modules = {"rank_pattern": {"0.q_proj": 4, "q_proj": 2}, "alpha_pattern": {"layers.0.q_proj": 1024}}
    write_adapter(tmp_path, rank=4, config={"r": 16, **of_modules})
    check_adapter(tmp_path, max_rank=16)


@pytest.mark.parametrize("config", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_config_that_is_no_object_is_refused(tmp_path: Path, config: bytes) -> None:
    (write_adapter(tmp_path) / CONFIG).write_bytes(config)
    with pytest.raises(AdapterRejected, match=CONFIG):
        check_adapter(tmp_path, max_rank=16)


def test_a_tensor_of_a_higher_rank_than_the_config_says_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path, rank=8, config={"r": 4})
    with pytest.raises(AdapterRejected, match="not of the rank"):
        check_adapter(tmp_path, max_rank=16)


def test_one_factor_without_the_other_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path)
    write_tensors(tmp_path / WEIGHTS, {f"{Q_PROJ}.lora_A.weight": ("F32", [4, 8], bytes(128))})
    with pytest.raises(AdapterRejected, match="one factor of a module without the other"):
        check_adapter(tmp_path, max_rank=16)


def test_an_adapter_whose_second_factors_are_zero_changes_nothing(tmp_path: Path) -> None:
    assert not has_weights_of_note(write_adapter(tmp_path / "zero", second_factor=b"\0"))
    assert has_weights_of_note(write_adapter(tmp_path / "trained"))


NUMBERS = {"F64": "<d", "F32": "<f", "F16": "<e"}


def encode(value: float, dtype: str) -> bytes:
    return struct.pack("<f", value)[2:] if dtype == "BF16" else struct.pack(NUMBERS[dtype], value)


@pytest.mark.parametrize("dtype", ["F64", "F32", "BF16", "F16"])
@pytest.mark.parametrize(
    ("value", "is_sound"),
    [
        (0.0, True),
        (-1.5, True),
        (1e-30, True),
        (30_000.0, True),
        (math.nan, False),
        (math.inf, False),
        (-math.inf, False),
    ],
)
def test_every_number_must_be_finite(tmp_path: Path, dtype: str, value: float, *, is_sound: bool) -> None:
    data = encode(0.5, dtype) * 15 + encode(value, dtype) + encode(-0.5, dtype) * 16
    sha256 = write_factors(tmp_path, dtype, data)
    check_adapter(tmp_path, max_rank=16)
    if is_sound:
        check_weights(tmp_path, sha256)
    else:
        with pytest.raises(AdapterRejected, match="not finite"):
            check_weights(tmp_path, sha256)


def test_a_number_far_too_large_for_a_weight_is_refused(tmp_path: Path) -> None:
    sha256 = write_factors(tmp_path, "BF16", encode(1e9, "BF16") * 32)
    with pytest.raises(AdapterRejected, match="far too large"):
        check_weights(tmp_path, sha256)


@pytest.mark.parametrize("place", [8, 60, -1])
def test_one_bit_of_the_weights_file_that_is_another_is_refused(tmp_path: Path, place: int) -> None:
    path = write_adapter(tmp_path) / WEIGHTS
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    check_weights(tmp_path, sha256)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(AdapterRejected):
        check_weights(tmp_path, sha256)


def write_factors(directory: Path, dtype: str, data: bytes) -> str:
    """Write both factors with the same 32 numbers; give the file's hash."""
    write_adapter(directory)
    factors = {f"{Q_PROJ}.lora_A.weight": (dtype, [4, 8], data), f"{Q_PROJ}.lora_B.weight": (dtype, [8, 4], data)}
    write_tensors(directory / WEIGHTS, factors)
    return hashlib.sha256((directory / WEIGHTS).read_bytes()).hexdigest()


def make_base(directory: Path, **config: Any) -> Path:
    """A base of one layer whose q_proj has 8 outputs and 8 inputs, in two files."""
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    write_tensors(directory / "model-1.safetensors", {"model.embed_tokens.weight": ("BF16", [9, 8], bytes(144))})
    layer = {"model.layers.0.q_proj.weight": ("BF16", [8, 8], bytes(128)), "model.norm.weight": ("F32", [8], bytes(32))}
    write_tensors(directory / "model-2.safetensors", layer)
    return directory


Tensors = dict[str, tuple[str, list[int], bytes]]


def factors_of(module: str, *, rank: int = 4, inputs: int = 8, outputs: int = 8) -> Tensors:
    return {
        f"base_model.model.{module}.lora_A.weight": ("F32", [rank, inputs], bytes(4 * rank * inputs)),
        f"base_model.model.{module}.lora_B.weight": ("F32", [outputs, rank], bytes(4 * rank * outputs)),
    }


POISONED: dict[str, tuple[Tensors, str]] = {
    "another layer": (factors_of("model.layers.1.q_proj"), "does not have"),
    "another module": (factors_of("model.layers.0.v_proj"), "does not have"),
    "a module beside the right one": (
        factors_of("model.layers.0.q_proj") | factors_of("model.layers.0.x.q_proj"),
        "does not have",
    ),
    "no layer": (factors_of("q_proj"), "does not have"),
    "a module that is no matrix": (factors_of("model.norm"), "does not have"),
    "more inputs": (factors_of("model.layers.0.q_proj", inputs=9), "sizes"),
    "fewer outputs": (factors_of("model.layers.0.q_proj", outputs=7), "sizes"),
    "another rank": (factors_of("model.layers.0.q_proj", rank=5), "rank"),
    "the words": (factors_of("model.embed_tokens", inputs=9), "first or the last layer"),
    "the last layer": (factors_of("lm_head", outputs=9), "first or the last layer"),
    "names of another library": (
        {name.removeprefix("base_model.model."): value for name, value in factors_of("layers.0.q_proj").items()},
        "not LoRA's",
    ),
    "a vector": ({f"{Q_PROJ}.lora_A.weight": ("F32", [32], bytes(128))}, "not LoRA's"),
    "a tensor more": (factors_of("layers.0.q_proj") | {"magnitude": ("F32", [8], bytes(32))}, "not LoRA's"),
}


@pytest.mark.parametrize(("tensors", "words"), POISONED.values(), ids=POISONED)
def test_an_adapter_that_does_not_fit_the_base_is_refused(tmp_path: Path, tensors: Tensors, words: str) -> None:
    targets = ["q_proj", "v_proj", "norm", "embed_tokens", "lm_head"]
    write_adapter(tmp_path / "adapter", config={"target_modules": targets})
    write_tensors(tmp_path / "adapter" / WEIGHTS, tensors)
    with pytest.raises(AdapterRejected, match=words):
        check_adapter(tmp_path / "adapter", 16, read_base_shapes(make_base(tmp_path / "base")))


@pytest.mark.parametrize("module", ["model.layers.0.q_proj", "layers.0.q_proj", "language_model.model.layers.0.q_proj"])
def test_an_adapter_that_fits_passes_whatever_its_base_is_wrapped_in(tmp_path: Path, module: str) -> None:
    write_adapter(tmp_path / "adapter")
    write_tensors(tmp_path / "adapter" / WEIGHTS, factors_of(module))
    check_adapter(tmp_path / "adapter", 16, read_base_shapes(make_base(tmp_path / "base")))


def test_the_sizes_of_a_base_that_is_not_here_or_packed_are_not_known(tmp_path: Path) -> None:
    assert read_base_shapes(tmp_path) is None
    assert read_base_shapes(make_base(tmp_path / "packed", quantization_config={"bits": 4})) is None
    damaged = make_base(tmp_path / "damaged") / "model-2.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert read_base_shapes(damaged.parent) is None


def test_a_module_is_known_by_its_place_in_the_stack() -> None:
    assert place_of("model.layers.3.mlp.up_proj") == "layers.3.mlp.up_proj"
    assert place_of("layers.3.mlp.up_proj") == "layers.3.mlp.up_proj"
    assert place_of("model.my_layers.3.mlp") is place_of("lm_head") is None


def test_a_rejection_names_no_path(tmp_path: Path) -> None:
    with pytest.raises(AdapterRejected) as caught:
        check_adapter(tmp_path, max_rank=16)
    assert str(tmp_path) not in str(caught.value)
