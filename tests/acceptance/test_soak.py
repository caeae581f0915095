"""Three times more adapters than the engine holds, four projects, and an engine that dies: no answer is ever wrong."""

import hashlib
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing

import openai
import pytest
from support_desk_task import build_task, training_file

from tests.acceptance.conftest import running_service
from tests.acceptance.jobs import create_job, wait_until_ended
from tests.acceptance.soak import PROMPTS, Model, Note, Player, ask_whole
from tests.service import Service

PROJECTS = ("red", "green", "blue", "grey")
RESIDENT = 4
MODELS_OF_A_JOB = 3  # its last epochs' checkpoints, and its result
PLAYERS_OF_A_PROJECT = 2
KILLS = 5
ADMIN_KEY = "soak-admin"
SECONDS = float(os.environ.get("SOAK_SECONDS", "300"))


@pytest.mark.torture
@pytest.mark.timeout(1800)
def test_no_answer_is_wrong_while_adapters_come_and_go_and_the_engine_dies() -> None:
    environment = {
        "TUNESMITH_MAX_RESIDENT_ADAPTERS": str(RESIDENT),
        "TUNESMITH_MAX_LORAS": "2",
        "TUNESMITH_ADMIN_KEY": ADMIN_KEY,
        "TUNESMITH_TRAINER_THREADS": "1",
    }
    with ExitStack() as stack:
        service = stack.enter_context(running_service(environment))
        models = _make_models(service, stack)
        assert len(models) == 3 * RESIDENT
        asked_before = [_learn(model) for model in models]
        notes = _play(service, models)
        counts = Counter(note.outcome for note in notes)
        print(f"{len(notes)} requests: {dict(counts)}")  # noqa: T201  # the figures of a sweep are its result
        assert [] == [note for note in notes if note.fault]
        assert counts["whole"] > 100
        assert counts["left"] > 10
        _assert_metered_as_counted(service, [*asked_before, *notes], models)


def _make_models(service: Service, stack: ExitStack) -> list[Model]:
    clients = {name: stack.enter_context(service.client(service.new_key(name))) for name in PROJECTS}
    jobs = {
        name: create_job(
            client, training_file(build_task(seed).training[:48]), n_epochs=MODELS_OF_A_JOB, batch_size=8, seed=seed
        )
        for seed, (name, client) in enumerate(clients.items(), start=5)
    }
    for name, job in jobs.items():
        assert wait_until_ended(service, clients[name], job, timeout_s=400).status == "succeeded"
    with closing(sqlite3.connect(service.home / "tunesmith.db")) as database:
        rows = database.execute(
            "SELECT model.name, project.name, directory FROM fine_tuned_model AS model "
            "JOIN project ON project.id = model.project_id"
        ).fetchall()
    return [Model(name, project, clients[project], _header(service, directory)) for name, project, directory in rows]


def _header(service: Service, directory: str) -> str:
    weights = service.home / "adapters" / directory / "adapter_model.safetensors"
    return "sha256:" + hashlib.sha256(weights.read_bytes()).hexdigest()


def _learn(model: Model) -> list[Note]:
    """Have it say what it says to each prompt while nobody else asks."""
    notes = [ask_whole(model, prompt) for prompt in PROMPTS]
    model.answers.update({prompt: note.said for prompt, note in zip(PROMPTS, notes, strict=True) if note.said})
    return notes


def _play(service: Service, models: Sequence[Model]) -> list[Note]:
    until = time.monotonic() + SECONDS
    players = [
        Player(seed, [model for model in models if model.project == project], lambda: time.monotonic() > until)
        for seed, project in enumerate(PROJECTS * PLAYERS_OF_A_PROJECT)
    ]
    for player in players:
        player.start()
    for _ in range(KILLS):
        time.sleep(SECONDS / (KILLS + 2))  # the moment is the point: any will do
        service.kill("engine")
    for player in players:
        player.join(timeout=SECONDS)
    return [note for player in players for note in player.notes]


def _assert_metered_as_counted(service: Service, notes: Sequence[list[Note] | Note], models: Sequence[Model]) -> None:
    """To the token where every answer was whole; else between what came and what a whole answer would have been."""
    flat = [note for entry in notes for note in (entry if isinstance(entry, list) else [entry])]
    longest = {model.name: max(said.completion_tokens for said in model.answers.values()) for model in models}
    with service.client(ADMIN_KEY) as admin:
        metered = service.wait_for(lambda: _metered(admin, flat), "the usage to be folded")
    for model in models:
        own = [note for note in flat if note.model == model.name]
        whole = sum(note.said.completion_tokens for note in own if note.said)
        cut = [note for note in own if note.outcome in ("left", "broken")]
        at_least = whole + sum(note.received for note in cut)
        at_most = whole + len(cut) * longest[model.name]
        assert at_least <= metered[model.name] <= at_most, model.name


def _metered(admin: openai.OpenAI, notes: Sequence[Note]) -> dict[str, int] | None:
    """Completion tokens by model, once every whole answer is in."""
    usage = admin.get(
        "/organization/usage/completions",
        cast_to=dict,
        options={"params": {"start_time": int(time.time()) - 7200, "bucket_width": "1d", "group_by": "model"}},
    )
    results = [result for bucket in usage["data"] for result in bucket["results"]]
    metered = {result["model"]: result["output_tokens"] for result in results}
    n_whole = sum(note.outcome == "whole" for note in notes)
    return metered if sum(result["num_model_requests"] for result in results) >= n_whole else None
