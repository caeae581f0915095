"""How much memory there is for trainers."""

from pathlib import Path

import pytest

from server.fine_tuning.estimates.planner import Room
from server.fine_tuning.estimates.room import room_for_a_job
from server.guard import count_oom_kills
from server.placement.machine import Served, engine_bytes, find_placement, gpus_have_bfloat16, main_memory_bytes
from server.settings import Settings, SettingsInvalid, load_settings

GIB = 1024**3


def room(settings: Settings, *sources: str, has_gpu: bool = False) -> Room | None:
    served = [Served(f"m{i}", source) for i, source in enumerate(sources)]
    placement = find_placement(settings, has_gpu=has_gpu, base_models=served)
    return room_for_a_job(placement.resources, "cuda" if has_gpu else "cpu", allow_4bit=settings.allow_4bit)


def test_what_the_operator_says_counts() -> None:
    settings = Settings(trainer_memory_gib=0.5, allow_4bit=True)
    assert room(settings) == Room("cpu", GIB // 2, allow_4bit=True)
    assert room(settings, has_gpu=True) == Room("cuda", GIB // 2, allow_4bit=True)


def test_otherwise_it_is_what_the_engines_leave(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    without, with_one = room(Settings()), room(Settings(), str(tmp_path))
    assert without is not None
    assert with_one is not None
    assert engine_bytes(str(tmp_path), 1) == 2000 + GIB + 3 * GIB // 2
    assert without.available_bytes - with_one.available_bytes == min(without.available_bytes, 2000 + 5 * GIB // 2)


def test_a_gpu_that_does_not_answer_leaves_it_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert room(Settings(), has_gpu=True) is None
    probe = tmp_path / "nvidia-smi"
    probe.write_text("#!/bin/sh\necho 81559\necho 40000\n")
    probe.chmod(0o700)
    assert room(Settings(engine_gpu_share=0.45), has_gpu=True) == Room("cuda", round(81559 * 1024**2 * 0.55))
    with pytest.raises(SettingsInvalid, match="TUNESMITH_TRAINER_GPUS: this machine has no GPU 7"):
        room(Settings(gpu_policy="separate", trainer_gpus=(7,)), has_gpu=True)
    assert room(Settings(gpu_policy="separate"), has_gpu=True) == Room("cuda", round(40000 * 1024**2 * 0.95))


@pytest.mark.parametrize(
    ("says", "expected"), [("8.0\n9.0", True), ("7.5", False), ("9.0\n7.0", False), ("N/A", True), ("", True)]
)
def test_an_older_gpu_is_known_by_what_it_says_it_can(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str, expected: bool
) -> None:
    probe = tmp_path / "nvidia-smi"
    probe.write_text(f"#!/bin/sh\necho '{says}'\n")
    probe.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus_have_bfloat16() == expected


@pytest.mark.parametrize(("limit", "expected"), [("max\n", 2048), ("1024\n", 1024), ("999999\n", 2048), (None, 2048)])
def test_a_containers_limit_is_the_memory_there_is(tmp_path: Path, limit: str | None, expected: int) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:        2 kB\nMemFree:         1 kB\n")
    if limit is not None:
        (tmp_path / "limit").write_text(limit)
    assert main_memory_bytes(tmp_path / "meminfo", tmp_path / "limit") == expected


def test_the_kernels_count_of_killed_processes_is_read_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("nr_free_pages 7\noom_kill 3\nnr_x 1\n")
    assert count_oom_kills(tmp_path / "vmstat") == 3
    (tmp_path / "vmstat").write_text("nr_free_pages 7\n")
    assert count_oom_kills(tmp_path / "vmstat") == 0
    assert count_oom_kills(tmp_path / "none") == 0


@pytest.mark.parametrize(
    ("variable", "raw", "name", "value"),
    [
        ("ALLOW_4BIT", "true", "allow_4bit", True),
        ("ALLOW_4BIT", "0", "allow_4bit", False),
        ("TRAINER_MEMORY_GIB", "1.5", "trainer_memory_gib", 1.5),
        ("PRICE_PER_MILLION_TOKENS", "0", "price_per_million_tokens", 0.0),
        ("CURRENCY", "EUR", "currency", "EUR"),
    ],
)
def test_the_settings_of_estimates_are_read(variable: str, raw: str, name: str, value: object) -> None:
    settings = load_settings({f"TUNESMITH_{variable}": raw})
    assert getattr(settings, name) == value
    assert load_settings(settings.environment()) == settings


@pytest.mark.parametrize(
    ("variable", "raw"),
    [
        ("ALLOW_4BIT", "perhaps"),
        ("TRAINER_MEMORY_GIB", "0"),
        ("TRAINER_MEMORY_GIB", "much"),
        ("PRICE_PER_MILLION_TOKENS", "-1"),
        ("PRICE_PER_MILLION_TOKENS", "nan"),
        ("CURRENCY", "euro"),
    ],
)
def test_a_setting_of_estimates_that_cannot_be_is_named(variable: str, raw: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"TUNESMITH_{variable}"):
        load_settings({f"TUNESMITH_{variable}": raw})
