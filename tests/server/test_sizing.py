"""What engines take of a machine's memory, and what there is for trainers."""

import pytest

from server.placement.facts import Policy
from server.placement.sizing import GIB, Machine, Wishes, place_on_cpu, place_on_gpus
from server.settings import SettingsInvalid, load_settings

H100 = 80 * GIB
GPUS = Machine(True, 128 * GIB, {0: H100, 1: H100, 2: H100, 3: H100})
CPU = Machine(False, 16 * GIB)
SMALL, LARGE = 2 * GIB, 16 * GIB


@pytest.mark.parametrize(
    ("policy", "weights", "shares"),
    [
        (Policy.SHARE, [LARGE], [0.45]),  # one has all of it
        (Policy.SHARE, [SMALL, SMALL], [0.225, 0.225]),  # those that fit together share it equally
        (Policy.SHARE, [LARGE, LARGE], [0.45, 0.45]),  # those that do not are there one at a time
        (Policy.SHARE, [LARGE, SMALL], [0.2675, 0.225]),  # more than an equal part where that is not enough
        (Policy.SHARE, [0, 0, 0], [0.15, 0.15, 0.15]),  # unknown: as if all were there
        (Policy.YIELD, [LARGE], [0.9]),
        (Policy.YIELD, [LARGE, LARGE], [0.45, 0.45]),
    ],
)
def test_an_engine_takes_as_much_as_lets_the_most_run_together(
    policy: Policy, weights: list[int], shares: list[float]
) -> None:
    named = {f"m{i}": weight for i, weight in enumerate(weights)}
    _, sizes = place_on_gpus(GPUS, Wishes(policy), named)
    assert [size.gpu_share for size in sizes] == shares
    assert {size.device for size in sizes} == {0}


@pytest.mark.parametrize(
    ("policy", "engines", "trainers"),
    [(Policy.SHARE, 0.45, 0.55), (Policy.YIELD, 0.9, 0.95), (Policy.SEPARATE, 0.9, 0.95)],
)
def test_a_gpu_is_split_by_the_policy(policy: Policy, engines: float, trainers: float) -> None:
    resources, _ = place_on_gpus(GPUS, Wishes(policy, trainer_gpus=(1,)), {"m": SMALL})
    gpu = 1 if policy is Policy.SEPARATE else 0
    assert resources.engine_bytes == {0: round(H100 * engines)}
    assert resources.trainer_bytes == {gpu: round(H100 * trainers)}


def test_separate_engines_are_dealt_out_to_their_gpus() -> None:
    wishes = Wishes(Policy.SEPARATE, engine_gpus=(1, 3), trainer_gpus=(0, 2))
    resources, sizes = place_on_gpus(GPUS, wishes, {"a": LARGE, "b": LARGE, "c": LARGE})
    assert [(size.base_model, size.device, size.gpu_share) for size in sizes] == [
        ("a", 1, 0.45),
        ("b", 3, 0.9),
        ("c", 1, 0.45),
    ]
    assert set(resources.trainer_bytes) == {0, 2}


def test_what_the_operator_gives_the_engines_the_trainers_do_not_have() -> None:
    resources, sizes = place_on_gpus(GPUS, Wishes(engine_memory_bytes=20 * GIB), {"a": LARGE})
    assert sizes[0].needed_bytes == 20 * GIB
    assert resources.trainer_bytes == {0: 60 * GIB}


def test_a_gpu_that_does_not_say_what_it_has_is_shared_equally_and_without_a_budget() -> None:
    resources, sizes = place_on_gpus(Machine(True, 0), Wishes(), {"a": SMALL, "b": SMALL})
    assert [size.gpu_share for size in sizes] == [0.225, 0.225]
    assert (resources.engine_bytes, resources.trainer_bytes) == ({0: None}, {0: None})


@pytest.mark.parametrize(
    ("wishes", "engines", "budget", "trainers"),
    [
        (Wishes(), [3, 3], 8, 10),  # both fit into half of the memory
        (Wishes(), [5, 5, 5], 8, 8),  # never more than that, however many are listed
        (Wishes(), [12], 12, 4),  # one alone is let in
        (Wishes(engine_memory_bytes=4 * GIB), [3, 3], 4, 12),
        (Wishes(trainer_memory_bytes=2 * GIB), [3], 8, 2),
        (Wishes(Policy.SEPARATE), [3], 8, 13),  # without a GPU, as shared
        (Wishes(Policy.YIELD), [3], 14.4, 14.4),  # each side has nearly all of it, in turns
    ],
)
def test_main_memory_is_split_by_the_policy(wishes: Wishes, engines: list[int], budget: float, trainers: float) -> None:
    resources, _ = place_on_cpu(CPU, wishes, {f"m{i}": n * GIB for i, n in enumerate(engines)})
    assert resources.engine_bytes == {0: round(budget * GIB)}
    assert resources.trainer_bytes == {0: round(trainers * GIB)}


@pytest.mark.parametrize(
    ("variable", "raw", "name", "value"),
    [
        ("GPU_POLICY", "yield", "gpu_policy", "yield"),
        ("ENGINE_GPUS", "0,2", "engine_gpus", (0, 2)),
        ("TRAINER_GPUS", "3", "trainer_gpus", (3,)),
        ("ENGINE_MEMORY_GIB", "2.5", "engine_memory_gib", 2.5),
        ("ENGINE_IDLE_S", "600", "engine_idle_s", 600.0),
        ("ENGINE_WAIT_S", "0", "engine_wait_s", 0.0),
    ],
)
def test_the_settings_of_placing_are_read(variable: str, raw: str, name: str, value: object) -> None:
    settings = load_settings({f"TUNESMITH_{variable}": raw})
    assert getattr(settings, name) == value
    assert load_settings(settings.environment()) == settings


@pytest.mark.parametrize(
    ("variable", "raw"),
    [
        ("GPU_POLICY", "steal"),
        ("ENGINE_GPUS", "first"),
        ("ENGINE_GPUS", "0,0"),
        ("TRAINER_GPUS", "-1"),
        ("ENGINE_MEMORY_GIB", "0"),
        ("ENGINE_IDLE_S", "-1"),
        ("ENGINE_WAIT_S", "inf"),
    ],
)
def test_a_setting_of_placing_that_cannot_be_is_named(variable: str, raw: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"TUNESMITH_{variable}"):
        load_settings({f"TUNESMITH_{variable}": raw})


def test_separate_gpus_are_separate() -> None:
    with pytest.raises(SettingsInvalid, match="TUNESMITH_TRAINER_GPUS"):
        load_settings({"TUNESMITH_GPU_POLICY": "separate", "TUNESMITH_TRAINER_GPUS": "0,1"})
