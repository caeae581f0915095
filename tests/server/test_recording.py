"""What lies beside an adapter once a job has published it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.db.tables import FineTunedModelRow
from server.launchers.launcher import Exited
from server.record.manifest import DriftRecord, Manifest, find_damaged, read_manifest
from server.settings import Settings
from tests.factories import EXAMPLE
from tests.job_rig import TEN_STEPS, MakeRig, Rig, playing
from tests.played_runs import PlayedRun
from tests.records import REPRODUCTION
from trainer.contract.golden import Drift, GoldenSample, build_golden_samples

EVERY_FILE = [
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "loss_curve.png",
    "manifest.json",
]


def directory_of(rig: Rig, model: FineTunedModelRow) -> Path:
    return rig.services.settings.adapters / model.directory


def manifest_of(rig: Rig, model: FineTunedModelRow) -> Manifest:
    manifest = read_manifest(directory_of(rig, model))
    assert manifest is not None
    return manifest


def test_the_result_and_every_checkpoint_have_a_record_of_their_own(make_rig: MakeRig) -> None:
    rig = make_rig()
    job = rig.finish(rig.make_job(requested_hyperparameters={**TEN_STEPS, "n_epochs": 3}, seed=42))

    models = [model for model in rig.models() if model.deleted_at is None]
    assert [model.step for model in models] == [2, 4, None]
    for model, step in zip(models, (2, 4, 6), strict=True):
        directory, manifest = directory_of(rig, model), manifest_of(rig, model)
        assert sorted(path.name for path in directory.iterdir()) == EVERY_FILE
        assert sorted(manifest.files) == [name for name in EVERY_FILE if name != "manifest.json"]
        assert find_damaged(directory, manifest.files) == []
        assert (manifest.name, manifest.job_id, manifest.step, manifest.total_steps) == (model.name, job.id, step, 6)
        assert manifest.is_checkpoint == (model.step is not None)
        assert manifest.metrics.last["train_loss"] == pytest.approx(2.0 / step)
        assert manifest.metrics.best is not None
        assert manifest.metrics.best.step == step
        assert manifest.trained_tokens == 20 * (step if model.step else 6)
    last = manifest_of(rig, models[-1])
    assert (last.seed, last.threads, last.parent_model, last.validation_data) == (42, 1, None, None)
    assert last.requested_hyperparameters["learning_rate_multiplier"] == "auto"
    settings: Any = last.settings
    assert settings["method"]["batch_size"] == 5
    lora = {"rank": 16, "alpha": 32, "dropout": 0.0, "target_modules": "all-linear"}
    assert settings["lora"] == {**lora, "variant": "lora", "rslora": False}
    assert settings["context_length_tokens"] == 1024
    assert last.packages["torch"] == "2.13.0+cpu" or last.packages["torch"]


def test_how_well_the_result_does_what_was_trained_is_recorded(make_rig: MakeRig) -> None:
    def succeed(run: PlayedRun) -> Exited:
        ended = run.succeed()
        (run.directory.adapter / "reproduction.json").write_text(REPRODUCTION.model_dump_json())
        return ended

    rig = make_rig(playing({1: succeed})[0])
    rig.finish(rig.make_job(requested_hyperparameters={**TEN_STEPS, "n_epochs": 2}))
    checkpoint, result = (manifest_of(rig, model) for model in rig.models())
    assert result.reproduction == REPRODUCTION
    assert "reproduction.json" in result.files
    assert "converted to this LoRA" in result.known_limits[0]
    assert checkpoint.reproduction is None
    assert "not compared" in checkpoint.known_limits[0]


def test_data_and_base_are_known_by_their_hashes(make_rig: MakeRig) -> None:
    rig = make_rig()
    job = rig.make_job()
    model = rig.finish(job) and rig.models()[-1]
    manifest = manifest_of(rig, model)

    content = (json.dumps(EXAMPLE).encode() + b"\n") * 10
    assert manifest.training_data is not None
    assert (manifest.training_data.bytes, manifest.training_data.n_examples) == (len(content), 10)
    assert manifest.training_data.n_trained_tokens == 50
    base = manifest.base_model
    assert (base.name, base.repository, base.license, base.parameters) == (
        "tunesmith-demo",
        None,
        "apache-2.0",
        1_000_000,
    )
    assert (base.revision or "").startswith("sha256:")
    front = (directory_of(rig, model) / "README.md").read_text().split("---\n")[1]
    assert yaml.safe_load(front)["license"] == "apache-2.0"


def test_no_path_no_file_id_and_no_training_text_is_in_it(make_rig: MakeRig) -> None:
    rig = make_rig()
    job = rig.finish(rig.make_job())
    directory = directory_of(rig, rig.models()[-1])
    texts = [(directory / name).read_text() for name in ("manifest.json", "README.md")]

    for text in texts:
        assert str(rig.services.settings.home) not in text
        assert str(Path(rig.services.base_models.entries[0].source)) not in text
        assert job.training_file not in text
        assert rig.project_id not in text
        assert '"1+1"' not in text


def test_what_was_found_is_kept_in_numbers(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.finish(rig.make_job())
    found: Any = manifest_of(rig, rig.models()[-1]).data_gate

    assert (found["pii"], found["training"]["n_examples"], found["training"]["format"]) == ("warn", 10, "chat")
    assert (found["validation"], found["findings"]) == (None, 0)


def test_a_resumed_run_has_the_curve_of_all_its_attempts(make_rig: MakeRig) -> None:
    launcher, _ = playing({1: lambda run: run.crash_at(6)})
    whole, broken = make_rig(), make_rig(launcher)
    pictures = []
    for rig in (whole, broken):
        job = rig.finish(rig.make_long_job())
        manifest = manifest_of(rig, next(model for model in rig.models() if model.name == job.fine_tuned_model))
        assert manifest.metrics.last["train_loss"] == pytest.approx(0.2)
        pictures.append(manifest.files["loss_curve.png"].sha256)
    assert pictures[0] == pictures[1]


def test_golden_samples_and_the_bases_licence_travel_with_the_adapter(make_rig: MakeRig, tmp_path: Path) -> None:
    base = Path(make_rig().services.base_models.entries[0].source)
    shutil.copytree(base, tmp_path / "base")
    (tmp_path / "base" / "LICENSE").write_text("You may.")
    (tmp_path / "base" / "README.md").write_text("---\nlicense: other\nlicense_name: ours\n---\n")
    bases = tmp_path / "bases.toml"
    bases.write_text('[[base_model]]\nname = "tunesmith-demo"\nsource = "base"\ncontext_length = 64\n')

    def succeed_with_samples(run: PlayedRun) -> Any:
        ended = run.succeed()
        (run.directory.adapter / "golden_samples.json").write_text("[]")
        return ended

    launcher, _ = playing({1: succeed_with_samples})
    rig = make_rig(launcher, base_models_file=bases)
    rig.finish(rig.make_job())
    model = rig.models()[-1]
    directory, manifest = directory_of(rig, model), manifest_of(rig, model)

    assert (directory / "LICENSE").read_text() == "You may."
    assert (directory / "golden_samples.json").read_text() == "[]"
    assert {"LICENSE", "golden_samples.json"} <= set(manifest.files)
    assert (manifest.base_model.license, manifest.base_model.license_name) == ("other", "ours")
    assert "ours (other)" in (directory / "README.md").read_text()


def test_how_far_the_quantised_base_was_from_the_one_that_serves_is_in_the_manifest(make_rig: MakeRig) -> None:
    def succeed_with_drift(run: PlayedRun) -> Any:
        ended = run.succeed()
        sample = GoldenSample(
            prompt_token_ids=(1,), sampled_token_ids=(2,), adapter_logprobs=(-1.0,), base_logprobs=(-3.0,)
        )
        golden = build_golden_samples([sample], dtype="float32", drift=Drift(mean=0.02, largest=0.3, of_base=0.01))
        (run.directory.adapter / "golden_samples.json").write_text(golden.model_dump_json())
        return ended

    launcher, _ = playing({1: succeed_with_drift})
    rig = make_rig(launcher)
    rig.finish(rig.make_job(requested_hyperparameters={**TEN_STEPS, "quantization": "int8"}))
    of_checkpoint, of_result = manifest_of(rig, rig.models()[0]), manifest_of(rig, rig.models()[-1])
    assert of_checkpoint.drift is None
    assert of_result.drift == DriftRecord(quantization="int8", mean=0.02, largest=0.3, of_base=0.01)
    assert "by 0.020 nats a token, at most 0.300" in " ".join(of_result.known_limits)


def test_a_base_that_says_nothing_of_its_licence_is_recorded_so(make_rig: MakeRig, tmp_path: Path) -> None:
    source = Path(make_rig().services.base_models.entries[0].source)
    shutil.copytree(source, tmp_path / "base", ignore=shutil.ignore_patterns("README.md"))
    bases = tmp_path / "bases.toml"
    bases.write_text('[[base_model]]\nname = "tunesmith-demo"\nsource = "base"\ncontext_length = 64\n')
    rig = make_rig(base_models_file=bases)
    rig.finish(rig.make_job())
    manifest = manifest_of(rig, rig.models()[-1])

    assert manifest.base_model.license == "unknown"
    assert any("licence is not known" in sentence for sentence in manifest.known_limits)


def test_a_kill_before_the_directory_has_its_name_leaves_the_record_whole_the_next_time(make_rig: MakeRig) -> None:
    rig = make_rig()
    job = rig.make_job()
    rig.work_until(lambda: rig.job(job).pending_model)
    unique = (rig.job(job).pending_model or "").split(":")[4]
    adapters: Path = rig.services.settings.adapters
    torn = adapters / f"{unique}.tmp"
    torn.mkdir(parents=True)
    (torn / "manifest.json").write_text("torn")
    rig.restart()
    rig.finish(job)

    manifest = manifest_of(rig, rig.models()[-1])
    assert find_damaged(adapters / unique, manifest.files) == []
    assert not torn.exists()


def test_hashes_of_the_base_are_kept_in_the_home(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.finish(rig.make_job())
    settings: Settings = rig.services.settings

    assert any(path.endswith("model.safetensors") for path in json.loads(settings.hashes.read_text()))
