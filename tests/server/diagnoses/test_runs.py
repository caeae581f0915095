"""All diagnoses over many runs: silent on healthy ones, and each fault is named."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.fine_tuning.diagnoses.finding import Diagnosis
from tests.curves import Run, findings
from tests.server.diagnoses.runs import FAULTY, HEALTHY

FAULTS = [(name, way, run) for name, ways in FAULTY.items() for way, run in ways.items()]
_SEEDS = range(3)


@pytest.mark.parametrize("shape", HEALTHY)
def test_nothing_is_said_of_a_healthy_run(shape: str) -> None:
    assert [findings(HEALTHY[shape], seed) for seed in _SEEDS] == [{} for _ in _SEEDS]


@pytest.mark.parametrize(("name", "way", "run"), FAULTS, ids=[f"{name.value}: {way}" for name, way, _ in FAULTS])
def test_a_fault_is_named(name: Diagnosis, way: str, run: Run) -> None:
    for seed in _SEEDS:
        assert name in findings(run, seed)


def test_every_fault_that_metrics_can_show_is_planted_three_ways_or_more() -> None:
    before_training = {
        Diagnosis.BATCH_LARGER_THAN_EXAMPLES,
        Diagnosis.LEARNING_RATE_OUTSIDE_RANGE,
        Diagnosis.VALIDATION_TOO_SMALL,
    }
    of_preferences = {Diagnosis.PREFERENCES_COLLAPSE}  # test_preferences_collapse.py plants it
    assert FAULTY.keys() == set(Diagnosis) - before_training - of_preferences
    assert all(len(ways) >= 3 for ways in FAULTY.values())


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    shape=st.sampled_from([shape for shape, run in HEALTHY.items() if run.steps <= 600]),
    share=st.floats(0.0, 1.0),
    seed=st.integers(0, 2**31),
)
def test_nothing_is_said_of_a_healthy_run_with_less_noise(shape: str, share: float, seed: int) -> None:
    run = HEALTHY[shape]
    assert findings(replace(run, noise=run.noise * share), seed) == {}


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    fault=st.sampled_from([(name, run) for name, _, run in FAULTS if run.steps <= 600]),
    share=st.floats(0.0, 1.0),
    seed=st.integers(0, 2**31),
)
def test_a_fault_is_named_whatever_the_noise(fault: tuple[Diagnosis, Run], share: float, seed: int) -> None:
    name, run = fault
    assert name in findings(replace(run, noise=run.noise * share), seed)


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_false_alarms_and_misses_are_rare() -> None:
    healthy = [bool(findings(run, seed)) for run in HEALTHY.values() for seed in range(100, 100 + 30_000 // run.steps)]
    faulty = [name in findings(run, seed) for name, _, run in FAULTS for seed in range(100, 100 + 30_000 // run.steps)]
    counts = f"{sum(healthy)} false alarms in {len(healthy)} runs, {faulty.count(False)} misses in {len(faulty)}"
    assert sum(healthy) < 0.005 * len(healthy), counts
    assert faulty.count(False) < 0.01 * len(faulty), counts
