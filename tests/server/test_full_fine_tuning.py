"""What may be asked of a job that trains all weights, what "auto" comes to for it, and what it needs."""

from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest
from sqlmodel import select

from server.db.system_session import system_session
from server.db.tables import JobRow
from server.errors import InvalidRequest
from server.fine_tuning.asked.full_fine_tuning import Ground, is_full, refuse_what_full_cannot
from server.fine_tuning.asked.hyperparameters import TunedHyperparameters
from server.fine_tuning.estimates.disk import disk_bytes_of_full, find_lack_of_disk
from server.fine_tuning.estimates.memory import Device, resting_bytes_of_full
from server.fine_tuning.estimates.planner import Fit, NoFit, Room, Work, choose_plan
from server.fine_tuning.hyperparameters import BaseModelInfo, DatasetStats, reference_learning_rate, resolve
from tests.factories import make_file, make_model
from tests.full_models import write_full_model
from tests.running_api import Api
from trainer.contract.formats.names import OF_METHOD
from trainer.contract.shape import ModelShape

GB = 10**9
LLAMA_1B = ModelShape(
    hidden=2048, intermediate=8192, layers=16, heads=32, kv_heads=8, head_dim=64, vocabulary=128256, tied=True
)
GROUND = Ground(
    place="method.supervised.hyperparameters",
    base_model="tiny",
    is_further=False,
    is_of_full=False,
    parameters=1_000_000_000,
    room=Room("cpu", 100 * GB),
    free_disk_bytes=100 * GB,
)
FULL = {"type": "full"}


def ask(**asked: Any) -> TunedHyperparameters:
    return TunedHyperparameters.model_validate(asked)


@pytest.mark.parametrize(
    ("asked", "ground"),
    [
        ({"adapter": FULL}, {}),
        ({"adapter": FULL, "quantization": "none", "optimizer": "adamw", "learning_rate": 1e-5}, {}),
        ({"adapter": FULL}, {"is_further": True, "is_of_full": True}),
        ({}, {"is_further": True, "is_of_full": True}),
        ({"adapter": FULL}, {"parameters": None, "room": None}),
        ({}, {}),
        ({"adapter": {"type": "lora"}}, {"is_further": True}),
        ({"quantization": "nf4"}, {"room": Room("cpu", 1), "free_disk_bytes": 0}),
    ],
)
def test_what_goes_together_is_taken(asked: dict[str, Any], ground: dict[str, Any]) -> None:
    refuse_what_full_cannot(ask(**asked), replace(GROUND, **ground))


@pytest.mark.parametrize(
    ("asked", "ground", "param", "what_would_work"),
    [
        ({"adapter": FULL, "quantization": "nf4"}, {}, "quantization", "Leave 'quantization' out"),
        ({"adapter": FULL, "quantization": "int8"}, {}, "quantization", "adapter type 'lora' on the quantised base"),
        ({"quantization": "nf4"}, {"is_further": True, "is_of_full": True}, "quantization", "Leave 'quantization' out"),
        ({"adapter": {**FULL, "rank": 8}}, {}, "adapter.rank", "ask for type 'lora'"),
        ({"adapter": {**FULL, "use_rslora": True}}, {}, "adapter.use_rslora", "ask for type 'lora'"),
        ({"adapter": FULL}, {"is_further": True}, "adapter.type", "Ask for 'tiny' as the 'model'"),
        (
            {"adapter": {"type": "lora"}},
            {"is_further": True, "is_of_full": True},
            "adapter.type",
            "train an adapter on 'tiny'",
        ),
        ({"adapter": FULL}, {"room": Room("cpu", 15 * GB)}, "adapter.type", "more than 16 GB of memory, and 15 GB"),
        ({"adapter": FULL}, {"room": Room("cuda", 17 * GB)}, "adapter.type", "more than 18 GB of memory"),
        ({"adapter": FULL}, {"free_disk_bytes": 27 * GB}, "adapter.type", "28 GB of disk"),
        ({"adapter": FULL, "early_stopping_patience": 1}, {"free_disk_bytes": 30 * GB}, "adapter.type", "36 GB"),
    ],
)
def test_what_does_not_is_refused_with_what_would(
    asked: dict[str, Any], ground: dict[str, Any], param: str, what_would_work: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        refuse_what_full_cannot(ask(**asked), replace(GROUND, **ground))
    assert refused.value.param == f"{GROUND.place}.{param}"
    assert what_would_work in refused.value.message


def test_a_job_on_a_full_model_that_asks_for_no_adapter_trains_all_of_it() -> None:
    assert is_full(ask(), replace(GROUND, is_further=True, is_of_full=True))
    assert not is_full(ask(), replace(GROUND, is_further=True))
    assert not is_full(ask(), GROUND)


@pytest.mark.parametrize(("parameters", "expected"), [(8e9, 2e-5), (1e9, 2e-5), (4e6, 5e-4)])
def test_the_learning_rate_of_all_weights_is_a_tenth_of_a_loras(parameters: float, expected: float) -> None:
    rate = reference_learning_rate(int(parameters), 16, trains_all=True)
    assert rate == pytest.approx(expected, rel=0.01)
    assert rate == pytest.approx(reference_learning_rate(int(parameters), 16) / 10)


def test_auto_follows_that_rule_and_a_learning_rate_that_is_asked_for_is_kept() -> None:
    dataset, base = DatasetStats(1600), BaseModelInfo(8_000_000_000)
    resolved = resolve({"adapter": FULL}, dataset, base)
    assert resolved.trains_all
    assert (resolved.learning_rate, resolved.learning_rate_multiplier) == (2e-5, 1.0)
    assert resolve({"adapter": FULL, "learning_rate_multiplier": 2.0}, dataset, base).learning_rate == 4e-5
    assert resolve({"adapter": FULL, "learning_rate": 1e-5}, dataset, base).learning_rate_multiplier == 0.5
    assert resolved.shown(None)["adapter"] == FULL
    assert not resolve({}, dataset, base).trains_all


@pytest.mark.parametrize(("device", "bytes_per_parameter"), [("cpu", 16), ("cuda", 18)])
def test_weights_gradients_and_moments_are_counted_before_the_first_example(
    device: Device, bytes_per_parameter: int
) -> None:
    assert resting_bytes_of_full(10**9, device) == bytes_per_parameter * GB
    assert resting_bytes_of_full(10**9, device, "adamw_8bit") < (bytes_per_parameter - 5) * GB


def test_a_plan_that_fits_keeps_no_weight_quantised_and_one_that_does_not_says_that_a_lora_would() -> None:
    work = Work(LLAMA_1B, longest_tokens=512, batch_size=4, labelled_share=0.3, trains="full")
    fit = choose_plan(work, Room("cuda", 40 * GB, allow_4bit=True))
    assert isinstance(fit, Fit)
    assert fit.plan.quantization is None
    assert fit.memory.adapter == 0
    refused = choose_plan(work, Room("cuda", 16 * GB, allow_4bit=True))
    assert isinstance(refused, NoFit)
    assert refused.leanest.quantization is None
    assert "with adapter type 'lora' it needs" in refused.message()
    assert "4-bit" not in refused.message()


def test_the_copy_of_the_best_weights_is_counted_in_main_memory() -> None:
    work = Work(LLAMA_1B, longest_tokens=512, batch_size=4, labelled_share=0.3, trains="full")
    plain, keeping = (choose_plan(replace(work, keeps_best=keeps), Room("cpu", 500 * GB)) for keeps in (False, True))
    assert keeping.memory.needed - plain.memory.needed == pytest.approx(4 * 1.236e9, rel=0.01)


@pytest.mark.parametrize(("free", "fits"), [(27, False), (28, True)])
def test_the_disk_has_to_hold_two_checkpoints_and_the_model(free: int, fits: bool) -> None:
    assert disk_bytes_of_full(10**9, keeps_best=False) == 28 * GB
    lack = find_lack_of_disk(10**9, keeps_best=False, free_bytes=free * GB)
    assert (lack is None) == fits
    assert find_lack_of_disk(None, keeps_best=False, free_bytes=0) is None


def create(client: openai.OpenAI, api: Api, *, model: str = "tunesmith-demo", **asked: Any) -> Any:
    return client.fine_tuning.jobs.create(
        model=model,
        training_file=make_file(api.services, api.project_id).id,
        method={"type": "supervised", "supervised": {"hyperparameters": asked}},  # type: ignore[typeddict-item]  # ours
    )


def test_a_client_asks_for_it_and_is_refused_in_openais_form(api: Api, client: openai.OpenAI) -> None:
    job = create(client, api, adapter=FULL)
    with system_session(api.database) as session:
        row = session.exec(select(JobRow).where(JobRow.id == job.id)).one()
    assert row.requested_hyperparameters["adapter"]["type"] == "full"
    assert job.method.supervised.hyperparameters.model_extra["adapter"] == {"type": "full"}
    with pytest.raises(openai.BadRequestError) as refused:
        create(client, api, adapter=FULL, quantization="nf4")
    assert (refused.value.code, refused.value.param) == (
        "unsupported_value",
        "method.supervised.hyperparameters.quantization",
    )


def ask_of(api: Api, http: httpx.Client, model: str, method: str, **asked: Any) -> httpx.Response:
    file = make_file(api.services, api.project_id).id
    named = {"type": method, method: {"hyperparameters": asked}}
    return http.post("/v1/fine_tuning/jobs", json={"model": model, "training_file": file, "method": named})


@pytest.mark.parametrize("method", OF_METHOD)
def test_every_method_trains_all_weights_of_a_base_and_of_a_full_model(
    api: Api, http: httpx.Client, method: str
) -> None:
    parent = make_model(api.services, api.project_id, is_full=True)
    write_full_model(api.services.settings.adapters / parent.directory)
    for model, asked in (("tunesmith-demo", {"adapter": FULL}), (parent.name, {}), (parent.name, {"adapter": FULL})):
        answer = ask_of(api, http, model, method, **asked)
        assert answer.status_code == 200, answer.text
        with system_session(api.database) as session:
            row = session.exec(select(JobRow).where(JobRow.id == answer.json()["id"])).one()
        assert (row.method, row.requested_hyperparameters["adapter"]["type"]) == (method, "full")


@pytest.mark.parametrize("method", OF_METHOD)
@pytest.mark.parametrize(
    ("of_full", "asked", "words"),
    [(True, {"type": "lora"}, "its engine serves no adapters"), (False, FULL, "can be trained of a whole model only")],
)
def test_what_would_be_trained_beside_another_reference_is_refused_by_name(
    api: Api, http: httpx.Client, method: str, of_full: bool, asked: dict[str, str], words: str
) -> None:
    """A LoRA on a full model, and all weights of a base with an adapter: no model of ours is either."""
    parent = make_model(api.services, api.project_id, is_full=of_full)
    if of_full:
        write_full_model(api.services.settings.adapters / parent.directory)
    error = ask_of(api, http, parent.name, method, adapter=asked).json()["error"]
    assert (error["param"], error["code"]) == (f"method.{method}.hyperparameters.adapter.type", "unsupported_value")
    assert words in error["message"]


def test_a_job_on_a_full_model_goes_on_with_all_of_it(api: Api, client: openai.OpenAI) -> None:
    parent = make_model(api.services, api.project_id, is_full=True)
    write_full_model(api.services.settings.adapters / parent.directory)
    job = create(client, api, model=parent.name)
    with system_session(api.database) as session:
        row = session.exec(select(JobRow).where(JobRow.id == job.id)).one()
    assert (row.parent_model, row.requested_hyperparameters["adapter"]) == (parent.name, {"type": "full"})
    with pytest.raises(openai.BadRequestError, match="serves no adapters"):
        create(client, api, model=parent.name, adapter={"type": "lora"})
