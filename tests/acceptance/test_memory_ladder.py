"""A trainer that the kernel refuses memory, under the worker as it is: the worker finds the plan that gets through."""

import json
from pathlib import Path

import pytest

from server.bootstrap import build_services
from server.launchers.local_process import LocalProcessLauncher
from tests.acceptance.test_taken_away import work_for_real
from tests.factories import make_file
from tests.job_rig import Rig
from tests.running_api import make_settings
from tests.trainer_runs import assistant, make_wide_base, user
from trainer.contract.spec import TrainingSpec

pytestmark = [pytest.mark.torture, pytest.mark.trainer, pytest.mark.timeout(600)]

N_EXAMPLES, BATCH = 32, 16


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    base = make_wide_base(tmp_path / "base")
    entry = {"name": "tunesmith-demo", "source": str(base), "context_length": 256}
    models = tmp_path / "base_models.toml"
    models.write_text("[[base_model]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in entry.items()))
    services = build_services(make_settings(tmp_path / "home", api_key="test key", base_models_file=models))
    return Rig(services, LocalProcessLauncher("tests.limited_trainer"))


def test_the_worker_itself_finds_the_plan_with_which_the_real_trainer_gets_through(rig: Rig) -> None:
    rows = [{"messages": [user(f"x {number}"), assistant("a b c d " * 60)]} for number in range(N_EXAMPLES)]
    file = make_file(rig.services, rig.project_id, "".join(json.dumps(row) + "\n" for row in rows).encode())
    asked = {"n_epochs": 1, "batch_size": BATCH, "learning_rate_multiplier": 1.0}
    job = rig.make_job(training_file=file.id, requested_hyperparameters=asked)
    specs: dict[int, TrainingSpec] = {}

    def has_ended() -> bool:
        now = rig.job(job)
        run = rig.worker.run_directory(now)
        if now.attempt and run.spec.exists():
            specs[now.attempt] = run.read_spec()
        return now.finished_at is not None

    work_for_real(rig, has_ended, timeout_s=540)  # several starts of the trainer

    ended = rig.job(job)
    assert (ended.status, ended.error_message) == ("succeeded", None)
    plans = [specs[attempt].memory for attempt in sorted(specs)]
    assert len(plans) > 1
    assert [plan.micro_batch_tokens for plan in plans] == sorted({p.micro_batch_tokens for p in plans}, reverse=True)
    assert {spec.method.batch_size for spec in specs.values()} == {BATCH}
    said = [event.message for event in rig.events(job) if event.message.startswith("Memory ran out.")]
    assert len(said) == len(plans) - 1
    assert said[0].endswith("batch_size stays the same.")
    assert ended.crashes == 0  # what counts against a job is a trainer that dies of itself
    assert rig.metrics_steps(job) == [1, 2]
    print([plan.micro_batch_tokens for plan in plans], said)  # noqa: T201
