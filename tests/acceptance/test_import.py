"""Moving in: an account is copied, its job trained again, and code that asks for the old name gets an answer."""

from pathlib import Path

import openai
import pytest

from server.bootstrap import build_services
from server.vocabulary import FilePurpose, JobStatus
from tests.acceptance.jobs import TASK, ask, small_file, wait_until_ended
from tests.factories import make_file, make_job
from tests.running_api import make_settings, serving
from tests.service import Service

OLD_BASE = "gpt-4o-mini-2024-07-18"
OLD_NAME = f"ft:{OLD_BASE}:acme:desk:AbCd1234"


@pytest.mark.timeout(240)
def test_the_old_name_answers_from_the_model_that_was_trained_here(
    service: Service, client: openai.OpenAI, tmp_path: Path
) -> None:
    account = build_services(make_settings(tmp_path / "there", api_key="their key"))
    there = account.authenticator.default.project_id
    training = make_file(account, there, small_file(30))
    old = make_job(
        account,
        there,
        status=JobStatus.SUCCEEDED,
        requested_model=OLD_BASE,
        fine_tuned_model=OLD_NAME,
        training_file=training.id,
        result_file=make_file(account, there, b"step,train_loss\n1,0.5\n", purpose=FilePurpose.FINE_TUNE_RESULTS).id,
        hyperparameters={"n_epochs": 1, "batch_size": 3, "learning_rate_multiplier": 1.0},
        user_provided_suffix="desk",
        finished_at=1_800_000_000,
    )
    table = tmp_path / "bases.toml"
    table.write_text('"gpt-4o-mini" = "tunesmith-demo"\n')
    command = ("import", "openai", "--rerun", str(table))
    with serving(account) as url:
        first = service.tunesmith(*command, OPENAI_API_KEY="their key", OPENAI_BASE_URL=url)
        again = service.tunesmith(*command, OPENAI_API_KEY="their key", OPENAI_BASE_URL=url)
    account.database.dispose()
    assert "jobs on local bases: 1 made" in first
    assert "jobs on local bases: 0 made, 1 were here" in again

    assert client.fine_tuning.jobs.retrieve(old.id).fine_tuned_model == OLD_NAME
    assert client.files.content(training.id).content == small_file(30)
    (made,) = (job for job in client.fine_tuning.jobs.list() if job.training_file == training.id and job.id != old.id)
    done = wait_until_ended(service, client, made, timeout_s=120)
    assert (done.status, done.seed) == ("succeeded", old.seed)
    assert done.fine_tuned_model is not None
    assert ask(client, OLD_NAME, TASK.held_out[0]) == ask(client, done.fine_tuned_model, TASK.held_out[0])
    assert ask(client, OLD_NAME, TASK.held_out[0], stream=True)
