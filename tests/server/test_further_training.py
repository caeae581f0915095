"""A job may start from a fine-tuned model: its adapter is where the training goes on."""

import json

import openai
import pytest
from sqlmodel import select

from server.db.system_session import system_session
from server.db.tables import FineTunedModelRow, JobRow
from server.fine_tuning.stages import Stage
from server.models.names import parse_model_name
from server.vocabulary import JobStatus
from tests.adapter_files import write_adapter
from tests.factories import make_file, make_model
from tests.job_rig import MakeRig, Rig, playing
from tests.played_runs import PlayedRun
from tests.running_api import Api


def make_parent(rig: Rig) -> FineTunedModelRow:
    rig.finish(rig.make_job())
    (parent,) = [model for model in rig.models() if model.step is None]
    return parent


def test_the_job_gets_a_copy_of_its_parents_adapter_and_its_shape(make_rig: MakeRig) -> None:
    launcher, trainer = playing({})
    rig = make_rig(launcher)
    parent = make_parent(rig)
    directory = rig.services.settings.adapters / parent.directory
    shape = json.loads((directory / "adapter_config.json").read_text())
    seen: list[bytes] = []

    def look(run: PlayedRun) -> object:
        seen.append((run.directory.parent / "adapter_model.safetensors").read_bytes())
        return run.succeed()

    trainer.faults[1] = look  # type: ignore[assignment]
    job = rig.make_job(parent_model=parent.name, requested_model=parent.name)
    ended = rig.finish(job)

    spec = trainer.specs[-1]
    assert ended.status == JobStatus.SUCCEEDED
    assert spec.start_from == rig.worker.run_directory(job, 1).parent
    assert (spec.lora.rank, spec.lora.alpha) == (shape["r"], shape["lora_alpha"])
    assert seen == [(directory / "adapter_model.safetensors").read_bytes()]
    name = parse_model_name(ended.fine_tuned_model or "")
    assert name is not None
    assert name.base == "tunesmith-demo"


def test_deleting_the_parent_later_does_no_harm(make_rig: MakeRig) -> None:
    rig = make_rig(playing({2: lambda run: run.succeed()})[0])
    parent = make_parent(rig)
    job = rig.make_job(parent_model=parent.name, requested_model=parent.name)
    rig.work_until(lambda: rig.job(job).stage == Stage.CHECK)
    with system_session(rig.services.database, write=True) as session:
        session.exec(select(FineTunedModelRow).where(FineTunedModelRow.name == parent.name)).one().deleted_at = 1
    rig.work_until(lambda: parent.directory not in rig.adapters())
    assert rig.finish(job).status == JobStatus.SUCCEEDED


def test_a_parent_that_is_gone_before_the_job_could_read_it_fails_the_job(make_rig: MakeRig) -> None:
    rig = make_rig()
    parent = make_parent(rig)
    for path in (rig.services.settings.adapters / parent.directory).iterdir():
        path.unlink()
    ended = rig.finish(rig.make_job(parent_model=parent.name, requested_model=parent.name))
    assert (ended.status, ended.error_code, ended.error_param) == (
        JobStatus.FAILED,
        "base_model_unavailable",
        "model",
    )


@pytest.mark.parametrize("step", [None, 4])
def test_a_client_names_a_model_or_a_checkpoint_of_its_own(api: Api, client: openai.OpenAI, step: int | None) -> None:
    parent = make_model(api.services, api.project_id, step=step)
    write_adapter(api.services.settings.adapters / parent.directory)
    job = client.fine_tuning.jobs.create(model=parent.name, training_file=make_file(api.services, api.project_id).id)
    assert job.model == parent.name
    with system_session(api.database) as session:
        row = session.exec(select(JobRow).where(JobRow.id == job.id)).one()
    assert (row.parent_model, row.base_model) == (parent.name, "tunesmith-demo")


def test_another_projects_model_is_no_start(api: Api, stranger: openai.OpenAI) -> None:
    parent = make_model(api.services, api.project_id)
    training_file = stranger.files.create(file=b"{}", purpose="fine-tune").id
    with pytest.raises(openai.BadRequestError) as foreign:
        stranger.fine_tuning.jobs.create(model=parent.name, training_file=training_file)
    with pytest.raises(openai.BadRequestError) as unknown:
        stranger.fine_tuning.jobs.create(model=parent.name[:-1] + "~", training_file=training_file)
    for refused in (foreign.value, unknown.value):
        assert (refused.code, refused.param) == ("model_not_available", "model")
        assert "is not available for fine-tuning or does not exist." in refused.message
