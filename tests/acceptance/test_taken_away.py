"""The demo model trained, published, taken away as an archive and as a merged model, and asked again by PEFT alone."""

import json
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support_desk_task import build_task, training_file

from server.__main__ import main
from server.bootstrap import build_services
from server.launchers.local_process import LocalProcessLauncher
from server.models.archive import open_archive, safe_name
from server.record.manifest import Manifest, find_damaged, read_manifest
from server.record.merged import MergedManifest
from tests.factories import make_file
from tests.job_rig import Rig
from tests.running_api import make_settings
from trainer.contract.spec import BaseModelSource, LoraSettings

pytestmark = [pytest.mark.trainer, pytest.mark.timeout(300)]

TASK = build_task(3)
SETTINGS = {"n_epochs": 2, "batch_size": 8, "learning_rate_multiplier": 1.0}


@dataclass(frozen=True)
class Published:
    rig: Rig
    base: Path
    name: str
    trained: Path  # the adapter as the run left it
    archive: Path  # as it was extracted
    manifest: Manifest


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    root = tmp_path_factory.mktemp("real")
    services = build_services(make_settings(root / "home", api_key="test key"))
    rig = Rig(services, LocalProcessLauncher())
    training, validation = (
        make_file(services, rig.project_id, training_file(part)).id
        for part in (TASK.training[:40], TASK.validation[:12])
    )
    job = rig.make_job(training_file=training, validation_file=validation, requested_hyperparameters=SETTINGS, seed=5)
    work_for_real(rig, lambda: rig.job(job).finished_at)
    assert rig.job(job).fine_tuned_model, rig.messages(job)
    shutil.copytree(rig.worker.run_directory(rig.job(job)).adapter, root / "trained")
    model = rig.models()[-1]
    archive = open_archive(services.settings.adapters / model.directory, top="model", created_at=model.created_at)
    (root / "model.tar").write_bytes(b"".join(archive.chunks))
    with tarfile.open(root / "model.tar") as tar:
        tar.extractall(root, filter="data")
    manifest = read_manifest(root / "model")
    assert manifest is not None
    yield Published(
        rig, Path(services.base_models.entries[0].source), model.name, root / "trained", root / "model", manifest
    )
    services.database.dispose()


def work_for_real(rig: Rig, probe: Callable[[], object], *, timeout_s: float = 200) -> None:
    deadline = time.monotonic() + timeout_s
    while not probe():
        assert time.monotonic() < deadline, "waited in vain"
        rig.tick()
        time.sleep(0.05)


def load_base(directory: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)


def logits(model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(10, 310).reshape(4, -1)).logits


def of_archive(published: Published) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(load_base(published.base), published.archive)


def test_the_extracted_archive_is_the_trained_model_to_peft(published: Published) -> None:
    """PEFT's loading of the archive, against the trainer's own of what the run left."""
    from trainer.adapter import attach_lora
    from trainer.base_model import load_base_model
    from trainer.checkpoints import start_from

    config = json.loads((published.trained / "adapter_config.json").read_text())
    lora = LoraSettings(rank=config["r"], alpha=config["lora_alpha"], dropout=0, target_modules="all-linear")
    trained = attach_lora(load_base_model(BaseModelSource(source=str(published.base)), "cpu"), lora, seed=1)
    start_from(published.trained, trained)

    found = logits(of_archive(published))
    assert (found - logits(trained)).abs().max() <= 1e-6
    assert (found - logits(load_base(published.base))).abs().max() > 0.1


def test_the_reported_validation_loss_is_that_of_the_archived_adapter(published: Published) -> None:
    """Computed one example at a time, from the text of the validation file."""
    import torch

    from trainer.contract.examples import read_examples
    from trainer.tokenizer import load_chat_tokenizer

    chat = load_chat_tokenizer(BaseModelSource(source=str(published.base)))
    model = of_archive(published).eval()
    loss, n = 0.0, 0
    for example in read_examples(training_file(TASK.validation[:12]).splitlines(keepends=True)):
        ((ids, mask),) = chat.encode([chat.renderer.render(example)])
        with torch.no_grad():
            scores = model(input_ids=torch.tensor(ids, dtype=torch.long)[None]).logits
        log_probabilities = scores[0, :-1].log_softmax(-1)
        for position in range(len(ids) - 1):
            if mask[position + 1]:
                loss -= log_probabilities[position, ids[position + 1]].item()
                n += 1
    assert published.manifest.metrics.last["full_valid_loss"] == pytest.approx(loss / n, rel=1e-4)
    assert published.manifest.validation_data is not None
    assert published.manifest.validation_data.n_trained_tokens == n


def test_the_manifest_says_what_the_run_was(published: Published) -> None:
    manifest = published.manifest
    assert find_damaged(published.archive, manifest.files) == []
    assert {"README.md", "loss_curve.png", "adapter_config.json", "adapter_model.safetensors"} <= set(manifest.files)
    assert (manifest.step, manifest.total_steps, manifest.seed) == (10, 10, 5)
    assert manifest.training_data is not None
    assert manifest.training_data.n_examples == 40
    assert manifest.base_model.parameters == 3_672_832
    settings: Any = manifest.settings
    assert settings["method"]["n_epochs"] == 2
    for text in ((published.archive / name).read_text() for name in ("manifest.json", "README.md")):
        assert str(published.rig.services.settings.home) not in text
        assert str(published.base) not in text
        assert [q.message for q in (*TASK.training[:40], *TASK.validation[:12]) if q.message in text] == []


def test_the_merged_export_is_the_adapter_in_a_model_of_its_own(
    published: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    output = tmp_path / "merged"
    home = str(published.rig.services.settings.home)
    assert main(["models", "export", published.name, "--merged", "--output", str(output), "--home", home]) == 0

    assert capsys.readouterr().out == f"{output}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]
    manifest = MergedManifest.model_validate_json((output / "manifest.json").read_bytes())
    assert find_damaged(output, manifest.files) == []
    assert (manifest.name, manifest.dtype, manifest.adapter) == (published.name, "bfloat16", published.manifest)
    assert 0 < manifest.merge.logit_error <= manifest.merge.tolerance == 1e-4
    assert manifest.merge.rounded_logit_error < 0.1 * manifest.merge.adapter_effect
    assert manifest.base_model.revision == published.manifest.base_model.revision

    of_adapter = logits(of_archive(published))
    of_merged = logits(load_base(output))
    assert (of_merged - of_adapter).abs().max() < 0.1 * (of_adapter - logits(load_base(published.base))).abs().max()
    assert AutoModelForCausalLM.from_pretrained(output).dtype == torch.bfloat16
    for file in ("chat_template.jinja", "generation_config.json", "tokenizer.json"):
        assert (output / file).is_file()
    messages = [{"role": "user", "content": "Hello"}]
    rendered = [AutoTokenizer.from_pretrained(path).apply_chat_template(messages) for path in (published.base, output)]
    assert rendered[0] == rendered[1]
    assert 'license: "apache-2.0"' in (output / "README.md").read_text()


def test_a_merge_of_a_damaged_adapter_is_refused_and_leaves_nothing(
    published: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Published by an older version, so that no manifest says it before the trainer sees it."""
    home = published.rig.services.settings.home
    directory = home / "adapters" / published.rig.models()[-1].directory
    kept = {path.name: path.read_bytes() for path in directory.iterdir()}
    (directory / "manifest.json").unlink()
    (directory / "adapter_model.safetensors").write_bytes(kept["adapter_model.safetensors"][:1000])
    try:
        words = ["models", "export", published.name, "--merged", "--output", str(tmp_path / safe_name("x"))]
        assert main([*words, "--home", str(home)]) == 1
    finally:
        for name, data in kept.items():
            (directory / name).write_bytes(data)
    assert "adapter's files are damaged" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
