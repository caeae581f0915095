"""A base model without a chat template: chat is trained on it only with a template that the operator names."""

import time
from pathlib import Path

import pytest
from trainer_runs import MARKED_TEMPLATE, make_tokenizer

from server.db.tables import JobRow
from server.launchers.local_process import LocalProcessLauncher
from server.vocabulary import JobStatus
from tests.adapter_files import write_tensors
from tests.job_rig import MakeRig, Rig

pytestmark = pytest.mark.trainer


def validated(make_rig: MakeRig, directory: Path, *more: str) -> tuple[Rig, JobRow]:
    """A job on such a base, when the real trainer has looked at its files."""
    base = make_tokenizer(directory / "base", template=None)
    write_tensors(base / "model.safetensors", {"weight": ("F32", [1], bytes(4))})
    lines = ["[[base_model]]", 'name = "tunesmith-demo"', 'source = "base"', "context_length = 256", *more]
    (directory / "base_models.toml").write_text("\n".join(lines))
    rig = make_rig(LocalProcessLauncher(), base_models_file=directory / "base_models.toml", max_running_jobs=0)
    job = rig.make_job()
    deadline = time.monotonic() + 60
    while rig.job(job).status is JobStatus.VALIDATING_FILES:
        assert time.monotonic() < deadline
        rig.tick()
        time.sleep(0.02)
    return rig, rig.job(job)


def test_a_job_on_it_fails_while_its_files_are_validated_and_says_what_to_do(make_rig: MakeRig, tmp_path: Path) -> None:
    _, job = validated(make_rig, tmp_path)
    assert (job.status, job.error_code, job.attempt) == (JobStatus.FAILED, "base_model_unavailable", 0)
    assert job.error_message == (
        "The base model has no chat template. Name a chat template with {% generation %} markers for this base model "
        "(chat_template in base_models.toml)."
    )


def test_with_a_template_that_the_operator_names_it_is_queued(make_rig: MakeRig, tmp_path: Path) -> None:
    (tmp_path / "chat.jinja").write_text(MARKED_TEMPLATE)
    rig, job = validated(make_rig, tmp_path, 'chat_template = "chat.jinja"')
    assert job.status is JobStatus.QUEUED, rig.messages(job)
