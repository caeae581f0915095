"""From a training file to a fine-tuned model that answers, with the official `openai` client.

    python examples/quickstart.py                 starts a server of its own, and stops it at the end
    OPENAI_BASE_URL=http://host:8000/v1 OPENAI_API_KEY=... python examples/quickstart.py
                                                  uses one that runs

Ends with status 1 unless the base model fails the task (at most 40 % right) and the fine-tuned model
has learnt it (at least 90 %), both on questions that were in neither file.
"""

import argparse
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from local_server import ServerFailed, local_server
from openai import OpenAI, OpenAIError
from openai.types.fine_tuning import FineTuningJob
from progress import follow
from support_desk_task import Question, Task, build_task, training_file

BASE_AT_MOST, TUNED_AT_LEAST = 0.40, 0.90
HOME = Path(".tunesmith-demo").resolve()


class Phases:
    """Wall time by phase, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        print(f"\n== {name}", flush=True)
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started


def main() -> int:
    parser = argparse.ArgumentParser(description="Fine-tune a small task and compare base and fine-tuned model.")
    parser.add_argument("--model", default="tunesmith-demo", help="base model to fine-tune (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of questions and training (default: %(default)s)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that a server of our own is stopped
    phases = Phases()
    try:
        with ExitStack() as stack:
            if os.environ.get("OPENAI_BASE_URL"):
                client = OpenAI()
            else:
                with phases.measured("Start a server"):
                    base_url, key = stack.enter_context(local_server(HOME))
                client = OpenAI(base_url=base_url, api_key=key)
            return journey(client, arguments.model, arguments.seed, phases)
    except (ServerFailed, OpenAIError) as error:
        print(f"quickstart: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("quickstart: stopped; what was uploaded and trained is kept", file=sys.stderr)
        return 130


def journey(client: OpenAI, model: str, seed: int, phases: Phases) -> int:
    """Upload, train, compare. Gives the exit status."""
    task = build_task(seed)
    with phases.measured("Upload"):
        job = create_job(client, model, seed, task)
    with phases.measured("Train"):
        job = follow(client, job)
    tuned = job.fine_tuned_model
    if job.status != "succeeded" or tuned is None:
        print(f"The job ended as {job.status}: {job.error.message if job.error else 'no reason given'}")
        return 1
    show_results(client, job)
    with phases.measured(f"Ask both models {len(task.held_out)} new questions"):
        base_share = share_right(client, model, task.held_out)
        tuned_share = share_right(client, tuned, task.held_out)
    sample = task.held_out[0]
    print(f"question     {sample.message}")
    print(f"base says    {ask(client, model, sample, stream=False)}")
    print(f"tuned says   {ask(client, tuned, sample, stream=True)}   (right: {sample.answer})")
    print(f"\nbase model   {base_share:6.1%} right   {model}")
    print(f"fine-tuned   {tuned_share:6.1%} right   {tuned}")
    show_where(client, job, phases)
    if base_share <= BASE_AT_MOST and tuned_share >= TUNED_AT_LEAST:
        return 0
    print(f"Expected: base at most {BASE_AT_MOST:.0%}, fine-tuned at least {TUNED_AT_LEAST:.0%}.", file=sys.stderr)
    return 1


def create_job(client: OpenAI, model: str, seed: int, task: Task) -> FineTuningJob:
    """Upload both files and start a job with everything on "auto"."""
    training = client.files.create(file=("training.jsonl", training_file(task.training)), purpose="fine-tune")
    validation = client.files.create(file=("validation.jsonl", training_file(task.validation)), purpose="fine-tune")
    print(
        f"{len(task.training)} training examples {training.id}, {len(task.validation)} for validation {validation.id}"
    )
    job = client.fine_tuning.jobs.create(
        model=model,
        training_file=training.id,
        validation_file=validation.id,
        seed=seed,
        suffix="support-desk",
        method={
            "type": "supervised",
            "supervised": {
                "hyperparameters": {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
            },
        },
    )
    print(f"job {job.id}")
    return job


def show_results(client: OpenAI, job: FineTuningJob) -> None:
    """List the checkpoints, and show the ends of the result file."""
    print("\nCheckpoints, each a model of its own:")
    for checkpoint in client.fine_tuning.jobs.checkpoints.list(job.id):
        loss = checkpoint.metrics.full_valid_loss or math.nan
        name = checkpoint.fine_tuned_model_checkpoint
        print(f"  step {checkpoint.step_number:4}  validation loss {loss:.4f}  {name}")
    for file_id in job.result_files:
        lines = client.files.content(file_id).text.splitlines()
        print(f"Result file {file_id}, {len(lines) - 1} steps:\n  {lines[0]}\n  {lines[1]}\n  ...\n  {lines[-1]}")


def share_right(client: OpenAI, model: str, questions: list[Question]) -> float:
    """Ask all questions, eight at a time and every fourth one streamed; the share of exact answers in [0, 1]."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        said = pool.map(
            lambda numbered: ask(client, model, numbered[1], stream=numbered[0] % 4 == 0), enumerate(questions)
        )
        return sum(question.answer == answer for question, answer in zip(questions, said, strict=True)) / len(questions)


def ask(client: OpenAI, model: str, question: Question, *, stream: bool) -> str:
    """The model's answer, greedily decoded."""
    messages = question.prompt()
    if not stream:
        whole = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=40)
        return whole.choices[0].message.content or ""
    answer = ""
    with client.chat.completions.create(
        model=model, messages=messages, temperature=0, max_tokens=40, stream=True
    ) as chunks:
        for chunk in chunks:
            answer += "".join(choice.delta.content or "" for choice in chunk.choices)
    return answer


def show_where(client: OpenAI, job: FineTuningJob, phases: Phases) -> None:
    print("\nWhere everything is:")
    print(f"  model          {job.fine_tuned_model}")
    print(f"  job            {job.id}")
    print(f"  training file  {job.training_file}")
    print(f"  result files   {', '.join(job.result_files)}")
    print(f"  base URL       {client.base_url}")
    if not os.environ.get("OPENAI_BASE_URL"):
        print(f"  home           {HOME}   (tunesmith serve --home {HOME.name} brings it all back)")
    print("\nWall time:")
    for name, seconds in phases.seconds.items():
        print(f"  {seconds:6.1f} s  {name.lower()}")


if __name__ == "__main__":
    sys.exit(main())
