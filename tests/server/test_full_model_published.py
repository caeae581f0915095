"""From a run that trained all weights to a model of its own: files, record, engine, and what is left when it goes."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlmodel import select

from inference.engine import AdapterRejected
from inference.fake_engine import FakeEngine
from inference.vllm.own_weights import WEIGHTS
from server.db.project_session import project_session
from server.db.system_session import system_session
from server.db.tables import FineTunedModelRow, JobRow
from server.fine_tuning.stages import Stage
from server.models.aliases import delete_alias, set_alias
from server.models.names import directory_of
from server.placement.full_engines import FullEngines
from server.record.manifest import read_manifest
from server.vocabulary import JobErrorCode, JobStatus
from tests.factories import make_model
from tests.full_models import write_full_model
from tests.job_rig import TEN_STEPS, TWO_STEPS, MakeRig, Rig, playing
from tests.played_runs import PlayedRun
from tests.running_api import Api, serving
from trainer.contract.full_model import FULL_MODEL_REPORT

FULL = {"adapter": {"type": "full"}}
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


def make_full_job(rig: Rig, **columns: Any) -> JobRow:
    return rig.make_job(requested_hyperparameters={**TEN_STEPS, **FULL}, **columns)


def directory_in(rig: Rig, model: FineTunedModelRow) -> Path:
    return rig.services.settings.adapters / model.directory


def test_the_whole_directory_is_published_under_one_name_with_its_record(make_rig: MakeRig) -> None:
    launcher, trainer = playing({})
    rig = make_rig(launcher)
    ended = rig.finish(make_full_job(rig))
    assert (ended.status, ended.error_message) == (JobStatus.SUCCEEDED, None)
    assert trainer.specs[-1].lora is None

    (model,) = rig.models()
    directory = directory_in(rig, model)
    assert (model.name, model.is_full, model.rank) == (ended.fine_tuned_model, True, 0)
    assert model.sha256 == hashlib.sha256((directory / WEIGHTS).read_bytes()).hexdigest()
    assert rig.gate.verified == [model.name]
    manifest = read_manifest(directory)
    assert manifest is not None
    assert manifest.own_weights is not None
    assert (manifest.own_weights.dtype, manifest.own_weights.logprob_gap) == ("bfloat16", 0.002)
    assert WEIGHTS in manifest.files
    assert not (directory / FULL_MODEL_REPORT).exists()
    assert "all of whose weights were trained" in (directory / "README.md").read_text()
    assert (directory / "config.json").is_file()


def test_its_weights_lie_on_the_disk_once(make_rig: MakeRig) -> None:
    inodes: list[int] = []

    def look(run: PlayedRun) -> object:
        ended = run.succeed()
        inodes.append(os.stat(run.directory.model / WEIGHTS).st_ino)
        return ended

    rig = make_rig(playing({1: look})[0])  # type: ignore[dict-item]
    rig.finish(make_full_job(rig))
    (model,) = rig.models()
    state = os.stat(directory_in(rig, model) / WEIGHTS)
    assert [state.st_ino] == inodes
    assert state.st_nlink == 1, "the run's own name for it is gone"


def test_only_the_result_is_a_model_and_a_checkpoint(make_rig: MakeRig) -> None:
    rig = make_rig(playing({})[0])
    ended = rig.finish(make_full_job(rig))
    assert [(row.step, row.model_name) for row in rig.checkpoints()] == [(10, ended.fine_tuned_model)]
    assert not [message for message in rig.messages(ended) if message.startswith("Checkpoint created")]


def test_a_pause_makes_no_model_and_the_job_goes_on_from_its_checkpoint(make_rig: MakeRig) -> None:
    launcher, trainer = playing({1: lambda run: run.interrupt_at(4)})
    rig = make_rig(launcher)
    job = make_full_job(rig)
    rig.work_until(lambda: rig.job(job).stage == Stage.TRAIN)
    rig.pause(job)
    rig.work_until(lambda: rig.job(job).stage is None)
    assert (rig.job(job).status, rig.models()) == (JobStatus.PAUSED, [])
    rig.resume(job)
    assert rig.finish(job).status == JobStatus.SUCCEEDED
    assert trainer.specs[-1].resume_from is not None


def test_a_model_that_does_not_prove_itself_is_none(make_rig: MakeRig) -> None:
    rig = make_rig(playing({})[0])
    rig.gate.refusals.append(AdapterRejected("the engine does not say what it should"))
    ended = rig.finish(make_full_job(rig))
    assert (ended.status, ended.error_code) == (JobStatus.FAILED, JobErrorCode.MODEL_NOT_SERVABLE)
    assert (rig.models(), rig.adapters()) == ([], set())


def test_a_job_goes_on_from_a_full_model_with_all_of_its_files(make_rig: MakeRig) -> None:
    seen: list[set[str]] = []

    def look(run: PlayedRun) -> object:
        seen.append({path.name for path in run.directory.parent.iterdir()})
        return run.succeed()

    launcher, trainer = playing({})
    rig = make_rig(launcher)
    rig.finish(make_full_job(rig))
    (parent,) = rig.models()
    trainer.faults[1] = look  # type: ignore[assignment]
    job = make_full_job(rig, parent_model=parent.name, requested_model=parent.name)
    ended = rig.finish(job)
    spec = trainer.specs[-1]
    assert ended.status == JobStatus.SUCCEEDED
    assert (spec.lora, spec.start_from) == (None, rig.worker.run_directory(job, 1).parent)
    assert seen[0] >= {WEIGHTS, "config.json"}
    assert (directory_in(rig, parent) / WEIGHTS).is_file(), "the parent stays as it is"


def test_a_deleted_model_leaves_nothing_and_its_own_engine_is_told(make_rig: MakeRig) -> None:
    rig = make_rig(playing({})[0])
    rig.finish(make_full_job(rig))
    (model,) = rig.models()
    with system_session(rig.services.database, write=True) as session:
        session.exec(select(FineTunedModelRow)).one().deleted_at = 1
    rig.work_until(lambda: not rig.adapters())
    assert rig.gate.forgotten == [model.name]


def test_a_job_whose_adapter_is_plain_is_published_as_ever(make_rig: MakeRig) -> None:
    rig = make_rig(playing({})[0])
    rig.finish(rig.make_job(requested_hyperparameters=TWO_STEPS))
    assert [model.is_full for model in rig.models()] == [False]


@pytest.fixture
def full(api: Api) -> FineTunedModelRow:
    row = make_model(api.services, api.project_id, is_full=True)
    write_full_model(api.services.settings.adapters / row.directory)
    return row


@pytest.fixture
def engines() -> FullEngines:
    return FullEngines(lambda name: FakeEngine(name, reads_files=False))


@pytest.fixture
def url(api: Api, engines: FullEngines) -> Iterator[str]:
    with serving(replace(api.services, full_engines=engines)) as url:
        yield url


def asking(api: Api, url: str, key: str | None = None) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=key or api.key, max_retries=0)


def test_its_own_engine_answers_in_its_name_with_the_hash_of_its_weights(
    api: Api, url: str, full: FineTunedModelRow, engines: FullEngines
) -> None:
    with asking(api, url) as client:
        raw = client.chat.completions.with_raw_response.create(model=full.name, messages=HELLO)
    assert raw.headers["x-tunesmith-adapter"] == f"sha256:{'5' * 64}"
    assert raw.parse().model == full.name
    assert list(engines) == [full.name]
    assert full.name not in [body["model"] for body in api.engine.bodies], "its base's engine was not asked"


def test_no_other_project_reaches_its_engine(api: Api, url: str, full: FineTunedModelRow, engines: FullEngines) -> None:
    with asking(api, url, api.foreign_key) as stranger, pytest.raises(openai.NotFoundError):
        stranger.chat.completions.create(model=full.name, messages=HELLO)
    assert len(engines) == 0


def test_deleting_it_lets_go_of_its_engine_and_takes_its_files(
    api: Api, url: str, full: FineTunedModelRow, engines: FullEngines
) -> None:
    with asking(api, url) as client:
        client.chat.completions.create(model=full.name, messages=HELLO)
        engine = engines[full.name]
        assert isinstance(engine, FakeEngine)
        client.models.delete(full.name)
        assert len(engines) == 0
        assert not (api.services.settings.adapters / full.directory).exists()
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model=full.name, messages=HELLO)


def test_it_answers_to_its_alias(api: Api, url: str, full: FineTunedModelRow) -> None:
    set_alias(api.database, api.services.base_models, api.project_id, name="my-whole-model", target=full.name)
    with asking(api, url) as client:
        assert client.chat.completions.create(model="my-whole-model", messages=HELLO).model == "my-whole-model"
    with project_session(api.database, api.project_id, write=True) as session:
        delete_alias(session, "my-whole-model")


def test_it_can_be_taken_away_whole(api: Api, full: FineTunedModelRow) -> None:
    with api.http() as http:
        archive = http.get(f"/v1/tunesmith/models/{full.name}/archive")
        assert archive.status_code == 200
        assert WEIGHTS.encode() in archive.content


def test_the_name_of_its_directory_is_the_unique_part_of_its_own() -> None:
    assert directory_of("ft:a:b:c:abcd1234") == "abcd1234"
    with pytest.raises(ValueError, match="not a fine-tuned model's name"):
        directory_of("tunesmith-demo")


def test_the_manifest_of_an_adapter_of_an_older_version_is_still_read(tmp_path: Path) -> None:
    from tests.records import make_manifest

    old = json.loads(make_manifest().dump())
    del old["own_weights"]
    (tmp_path / "manifest.json").write_text(json.dumps(old))
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert manifest.own_weights is None
