"""From what is asked of an adapter to what a run is told, and what a job says of it."""

import json
import shutil
from typing import Any

import pytest

from server.fine_tuning.schemas import CreateFineTuningJobRequest
from server.fine_tuning.stages import Stage
from server.launchers.in_memory import InMemoryLauncher
from server.launchers.launcher import Exited
from server.vocabulary import JobStatus
from tests.job_rig import TEN_STEPS, MakeRig, playing
from tests.played_runs import PlayedRun, PlayedTrainer, report_of
from trainer.contract.checkpoint import ADAPTER, list_checkpoints, seal
from trainer.contract.report import CheckReport
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import LoraSettings

ASKED: list[tuple[dict[str, Any], LoraSettings]] = [
    ({}, LoraSettings(rank=16, alpha=32, dropout=0.0, target_modules="all-linear")),
    ({"rank": 8}, LoraSettings(rank=8, alpha=16, dropout=0.0, target_modules="all-linear")),
    (
        {"type": "dora", "alpha": 8, "dropout": 0.05, "target_modules": ["v_proj", "q_proj"]},
        LoraSettings(variant="dora", rank=16, alpha=8, dropout=0.05, target_modules=("v_proj", "q_proj")),
    ),
    (
        {"type": "pissa", "use_rslora": True},
        LoraSettings(variant="pissa", rank=16, alpha=32, dropout=0.0, rslora=True, target_modules="all-linear"),
    ),
]


@pytest.mark.parametrize(("adapter", "told"), ASKED, ids=["auto", "rank", "dora", "pissa"])
def test_a_run_is_told_what_was_asked(make_rig: MakeRig, adapter: dict[str, Any], told: LoraSettings) -> None:
    launcher, trainer = playing({})
    rig = make_rig(launcher, max_lora_rank=32, max_adapter_error=0.2)
    job = rig.finish(rig.make_job(requested_hyperparameters={**TEN_STEPS, "adapter": adapter}))
    (spec,) = trainer.specs
    assert spec.lora == told
    assert (spec.serving.max_rank, spec.serving.max_error) == (32, 0.2)
    shown = (job.hyperparameters or {})["adapter"]
    assert (shown["type"], shown["rank"], shown["alpha"]) == (told.variant, told.rank, told.alpha)
    is_converted = any("published as a plain LoRA, which engines serve" in said for said in rig.messages(job))
    assert is_converted == (told.variant != "lora")


@pytest.mark.parametrize(("rank", "warned"), [(2, True), (4, False), (64, False), (65, True)])
def test_a_rank_outside_the_usual_is_warned_of_and_trained(make_rig: MakeRig, rank: int, warned: bool) -> None:
    rig = make_rig(max_lora_rank=128)
    job = rig.finish(rig.make_job(requested_hyperparameters={**TEN_STEPS, "adapter": {"rank": rank}}))
    assert job.status == JobStatus.SUCCEEDED
    assert any("outside the usual 4 to 64" in said for said in rig.messages(job)) == warned


def test_training_on_keeps_the_scaling_and_the_layers_of_what_was_published(make_rig: MakeRig) -> None:
    launcher, trainer = playing({})
    rig = make_rig(launcher)
    rig.finish(rig.make_job())
    (parent,) = [model for model in rig.models() if model.step is None]
    path = rig.services.settings.adapters / parent.directory / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "use_rslora": True, "target_modules": ["v_proj", "q_proj"]}))
    rig.finish(rig.make_job(parent_model=parent.name, requested_model=parent.name))
    lora = trainer.specs[-1].lora
    assert (lora.rslora, lora.target_modules, lora.variant) == (True, ("q_proj", "v_proj"), "lora")


def test_the_layers_of_a_base_that_was_not_there_are_looked_at_with_the_files(make_rig: MakeRig) -> None:
    def check(directory: RunDirectory) -> CheckReport:
        return report_of(directory).model_copy(update={"base_layers": {"qkv_proj": 64, "o_proj": 64}})

    rig = make_rig(InMemoryLauncher(PlayedTrainer(check=check)))
    asked = {**TEN_STEPS, "adapter": {"target_modules": ["q_proj"]}}
    job = rig.finish(rig.make_job(requested_hyperparameters=asked))
    assert (job.status, job.error_code, job.error_param) == (
        JobStatus.FAILED,
        "model_not_servable",
        "adapter.target_modules",
    )
    assert "The base model has o_proj, qkv_proj" in (job.error_message or "")


def test_a_pause_publishes_no_snapshot_that_is_not_converted(make_rig: MakeRig) -> None:
    def interrupted(run: PlayedRun) -> Exited:
        ended = run.interrupt_at(5)
        newest = list_checkpoints(run.directory.checkpoints)[-1]
        shutil.rmtree(newest / ADAPTER)
        seal(newest)
        return ended

    rig = make_rig(playing({1: interrupted})[0])
    job = rig.make_long_job()
    rig.work_until(lambda: rig.job(job).stage == Stage.TRAIN)
    rig.pause(job)
    rig.work_until(lambda: rig.job(job).stage is None)
    assert rig.job(job).status == JobStatus.PAUSED
    assert [row.step for row in rig.checkpoints()] == [2, 4]
    rig.resume(job)
    assert rig.finish(job).status == JobStatus.SUCCEEDED


@pytest.mark.parametrize(
    "adapter",
    [
        {"rank": 0},
        {"rank": "8"},
        {"alpha": 0},
        {"dropout": 1},
        {"dropout": -0.1},
        {"target_modules": []},
        {"target_modules": "q_proj"},
        {"use_rslora": "yes"},
        {"surplus": 1},
    ],
    ids=json.dumps,
)
def test_what_is_no_adapter_option_is_none(adapter: dict[str, Any]) -> None:
    body = {"supervised": {"hyperparameters": {"adapter": adapter}}, "type": "supervised"}
    with pytest.raises(ValueError, match="adapter"):
        CreateFineTuningJobRequest.model_validate({"model": "m", "training_file": "f", "method": body})
