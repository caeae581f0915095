"""Jobs of preferences in the worker: which files they take, what their run is told, what is estimated for them."""

import json
from typing import Any

import pytest

from server.db.tables import JobRow
from tests.factories import make_file
from tests.format_rows import GOOD_ROWS
from tests.job_rig import MakeRig, Rig, playing
from tests.played_runs import PlayedTrainer
from trainer.contract.formats.names import FileFormat
from trainer.contract.spec import DpoMethod, KtoMethod, MethodName

ASKED = {"n_epochs": 1, "batch_size": 5, "learning_rate_multiplier": "auto"}


@pytest.fixture
def played(make_rig: MakeRig) -> tuple[Rig, PlayedTrainer]:
    launcher, trainer = playing({})
    return make_rig(launcher), trainer


@pytest.fixture
def rig(played: tuple[Rig, PlayedTrainer]) -> Rig:
    return played[0]


def make_job(rig: Rig, method: MethodName, held: FileFormat, **asked: Any) -> JobRow:
    lines = [json.dumps(GOOD_ROWS[held][0]).encode() + b"\n"] * 10
    file = make_file(rig.services, rig.project_id, b"".join(lines))
    return rig.make_job(method=method, training_file=file.id, requested_hyperparameters={**ASKED, **asked})


@pytest.mark.parametrize(
    ("method", "held", "words"),
    [
        ("dpo", FileFormat.CHAT, "fine-tune-chat format, but the specified fine-tuning job is not using 'supervised'"),
        ("kto", FileFormat.PREFERENCE, "is not using 'dpo' or 'orpo' or 'simpo' as the training method"),
        ("simpo", FileFormat.KTO, "is not using 'kto' as the training method (provided method=simpo)"),
        ("supervised", FileFormat.PREFERENCE, "(provided method=supervised). Line 1, key"),
    ],
)
def test_a_file_for_another_method_fails_its_job_in_openais_words(
    rig: Rig, method: MethodName, held: FileFormat, words: str
) -> None:
    job = rig.finish(make_job(rig, method, held))
    assert (job.error_code, job.error_param) == ("invalid_training_file", "training_file")
    start = "The job failed due to an invalid training file. Invalid file format. Input file is in the fine-tune-"
    assert str(job.error_message).startswith(start)
    assert words in str(job.error_message)


def test_a_run_is_told_its_method_with_every_number(played: tuple[Rig, PlayedTrainer]) -> None:
    rig, trainer = played
    done = rig.finish(make_job(rig, "dpo", FileFormat.PREFERENCE, beta=0.3))
    assert done.error_message is None
    assert done.hyperparameters is not None
    assert done.hyperparameters["beta"] == 0.3
    spec = trainer.specs[0]
    assert isinstance(spec.method, DpoMethod)
    assert (spec.method.beta, spec.method.batch_size) == (0.3, 5)


def test_answers_that_are_all_of_one_kind_get_no_weights(played: tuple[Rig, PlayedTrainer]) -> None:
    rig, trainer = played
    rig.finish(make_job(rig, "kto", FileFormat.KTO))
    spec = trainer.specs[0]
    assert isinstance(spec.method, KtoMethod)
    assert (spec.method.beta, spec.method.desirable_weight, spec.method.undesirable_weight) == (0.1, 1.0, 1.0)


def test_a_pair_takes_the_memory_of_both_answers(rig: Rig) -> None:
    longest = {}
    pairs: list[tuple[MethodName, FileFormat]] = [("supervised", FileFormat.CHAT), ("dpo", FileFormat.PREFERENCE)]
    for method, held in pairs:
        done = rig.finish(make_job(rig, method, held))
        assert done.training_settings is not None
        longest[method] = done.training_settings["planned"]["longest_tokens"]
    assert longest["dpo"] == 2 * longest["supervised"]
