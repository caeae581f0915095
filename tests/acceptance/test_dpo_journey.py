"""A job of OpenAI's method `dpo` with the official client, from the file to the answer; nothing is faked."""

import csv
import io
import json

import openai
import pytest
from support_desk_task import Question

from tests.acceptance.jobs import BASE, TASK, ask, metrics_of, upload, wait_until_ended
from tests.service import Service

BETA = 0.2


def preferences(questions: list[Question]) -> bytes:
    """In OpenAI's spelling: the answer in the form that is wanted before one in free text."""
    return b"".join(
        json.dumps(
            {
                "input": {"messages": question.prompt()},
                "preferred_output": [{"role": "assistant", "content": question.answer}],
                "non_preferred_output": [{"role": "assistant", "content": "I am sorry, I will see what I can do."}],
            }
        ).encode()
        + b"\n"
        for question in questions
    )


@pytest.mark.timeout(300)
def test_a_job_of_preferences_becomes_a_model_that_answers(service: Service, client: openai.OpenAI) -> None:
    created = client.fine_tuning.jobs.create(
        model=BASE,
        training_file=upload(client, preferences(TASK.training[:48])),
        validation_file=upload(client, preferences(TASK.validation[:20])),
        method={
            "type": "dpo",
            "dpo": {"hyperparameters": {"beta": BETA, "n_epochs": 2, "batch_size": 8, "learning_rate_multiplier": 10}},
        },
    )
    job = wait_until_ended(service, client, created)
    assert (job.status, job.error) == ("succeeded", None)
    assert job.method is not None
    assert job.method.dpo is not None
    assert job.method.dpo.hyperparameters is not None
    assert (job.method.type, job.method.dpo.hyperparameters.beta) == ("dpo", BETA)
    assert job.method.supervised is None

    metrics = metrics_of(client, job.id)
    assert len(metrics) == 12
    first, last = metrics[0], metrics[-1]
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-4)
    assert last["rewards/margins"] > 0
    assert (last["full_valid_mean_token_accuracy"], last["full_valid_rewards/margins"]) > (0.9, 0)

    rows = list(csv.DictReader(io.StringIO(client.files.content(job.result_files[0]).text)))
    assert [row["step"] for row in rows] == [str(step) for step in range(1, 13)]
    assert float(rows[-1]["rewards/chosen"]) > float(rows[-1]["rewards/rejected"])
    assert job.fine_tuned_model is not None
    assert ask(client, job.fine_tuned_model, TASK.validation[0])
