import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference.adapter_files import check_adapter, check_numbers, has_weights_of_note
from inference.engine import AdapterRejected
from tests.adapter_files import write_adapter, write_tensors

WEIGHTS = "adapter_model.safetensors"
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
    ],
)
def test_an_adapter_the_engine_would_not_serve_is_refused(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    write_adapter(tmp_path, config=config)
    with pytest.raises(AdapterRejected, match=words):
        check_adapter(tmp_path, max_rank=16)


@pytest.mark.parametrize("config", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_config_that_is_no_object_is_refused(tmp_path: Path, config: bytes) -> None:
    (write_adapter(tmp_path) / CONFIG).write_bytes(config)
    with pytest.raises(AdapterRejected, match=CONFIG):
        check_adapter(tmp_path, max_rank=16)


def test_a_tensor_of_a_higher_rank_than_the_config_says_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path, rank=32, config={"r": 8})
    with pytest.raises(AdapterRejected, match="rank is above 16"):
        check_adapter(tmp_path, max_rank=16)


def test_one_factor_without_the_other_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path)
    write_tensors(tmp_path / WEIGHTS, {"layers.0.q_proj.lora_A.weight": ("F32", [4, 8], bytes(128))})
    with pytest.raises(AdapterRejected):
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
    write_adapter(tmp_path)
    write_tensors(
        tmp_path / WEIGHTS, {"x.lora_A.weight": (dtype, [4, 8], data), "x.lora_B.weight": (dtype, [8, 4], data)}
    )
    check_adapter(tmp_path, max_rank=16)
    if is_sound:
        check_numbers(tmp_path)
    else:
        with pytest.raises(AdapterRejected, match="not finite"):
            check_numbers(tmp_path)


def test_a_number_far_too_large_for_a_weight_is_refused(tmp_path: Path) -> None:
    data = encode(1e9, "BF16") * 32
    write_adapter(tmp_path)
    write_tensors(tmp_path / WEIGHTS, {"x.lora_A.weight": ("BF16", [4, 8], data)})
    with pytest.raises(AdapterRejected, match="far too large"):
        check_numbers(tmp_path)


def test_a_rejection_names_no_path(tmp_path: Path) -> None:
    with pytest.raises(AdapterRejected) as caught:
        check_adapter(tmp_path, max_rank=16)
    assert str(tmp_path) not in str(caught.value)
