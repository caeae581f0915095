"""Jobs of continued pre-training in the worker: which files they take, what their run is told."""

import json
from typing import Any

import pytest

from server.db.tables import JobRow
from server.fine_tuning.hyperparameters import BaseModelInfo, DatasetStats, resolve
from tests.factories import make_file
from tests.format_rows import GOOD_ROWS
from tests.job_rig import MakeRig, Rig, playing
from tests.played_runs import PlayedTrainer
from trainer.contract.formats.names import FileFormat
from trainer.contract.spec import ContinuedPretrainingMethod

METHOD = "continued_pretraining"
ASKED = {"n_epochs": 1, "batch_size": 5, "learning_rate_multiplier": "auto"}


@pytest.fixture
def played(make_rig: MakeRig) -> tuple[Rig, PlayedTrainer]:
    launcher, trainer = playing({})
    return make_rig(launcher), trainer


def make_job(rig: Rig, held: FileFormat, *, n_lines: int = 10, **columns: Any) -> JobRow:
    line = json.dumps(GOOD_ROWS[held][0]).encode() + b"\n"
    file = make_file(rig.services, rig.project_id, line * n_lines)
    asked = {"method": METHOD, "requested_hyperparameters": ASKED, **columns}
    return rig.make_job(training_file=file.id, **asked)


def test_a_job_trains_on_plain_text_and_gets_its_model(played: tuple[Rig, PlayedTrainer]) -> None:
    rig, trainer = played
    asked = {**ASKED, "max_seq_length": 64, "packing": True}
    done = rig.finish(make_job(rig, FileFormat.TEXT, requested_hyperparameters=asked))
    assert done.error_message is None
    spec = trainer.specs[0]
    assert isinstance(spec.method, ContinuedPretrainingMethod)
    assert (spec.method.batch_size, spec.context_length_tokens, spec.packing) == (5, 64, True)
    assert [model.name for model in rig.models()][-1] == done.fine_tuned_model


def test_one_document_is_not_too_few_until_the_trainer_has_split_it(played: tuple[Rig, PlayedTrainer]) -> None:
    rig, _ = played
    assert rig.finish(make_job(rig, FileFormat.TEXT, n_lines=1)).error_code is None
    failed = rig.finish(make_job(rig, FileFormat.CHAT, n_lines=1, method="supervised"))
    assert failed.error_code == "invalid_n_examples"


@pytest.mark.parametrize(
    ("method", "held", "words"),
    [
        (METHOD, FileFormat.CHAT, "not using 'supervised' as the training method (provided method=continued_pretrain"),
        (METHOD, FileFormat.PREFERENCE, 'Give "text" alone, or name the method'),
        ("supervised", FileFormat.TEXT, "not using 'continued_pretraining' as the training method (provided method=su"),
        ("dpo", FileFormat.TEXT, "Input file is in the fine-tune-text format"),
    ],
)
def test_a_file_for_another_method_fails_its_job_in_openais_words(
    played: tuple[Rig, PlayedTrainer], method: str, held: FileFormat, words: str
) -> None:
    job = played[0].finish(make_job(played[0], held, method=method))
    assert (job.error_code, job.error_param) == ("invalid_training_file", "training_file")
    assert words in str(job.error_message)


@pytest.mark.parametrize(("n_pieces", "n_epochs"), [(10, 3), (999, 3), (1_000, 2), (10_000, 1)])
def test_the_more_text_there_is_the_fewer_times_it_is_read(n_pieces: int, n_epochs: int) -> None:
    dataset, base = DatasetStats(n_examples=n_pieces), BaseModelInfo(parameters=10**9)
    assert resolve({}, dataset, base, method="continued_pretraining").n_epochs == n_epochs
    assert resolve({"n_epochs": 7}, dataset, base, method="continued_pretraining").n_epochs == 7
