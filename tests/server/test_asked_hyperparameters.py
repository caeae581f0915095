"""Every hyperparameter of ours on the wire: what is taken, what is refused and in which words."""

from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from server.db.project_session import project_session
from server.db.tables import JobRow
from server.errors import InvalidRequest
from server.fine_tuning.asked.contradictions import Circumstances, refuse_contradictions
from server.fine_tuning.asked.hyperparameters import TunedHyperparameters
from tests.factories import make_file
from tests.running_api import Api
from trainer.contract.formats.names import OF_METHOD
from trainer.contract.spec import BY_TOKENS, MethodName

BASE = "gpt-4o-mini-2024-07-18"
PLACE = "method.supervised.hyperparameters"
AUTO = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
EVERYTHING = {
    "learning_rate": 3e-4,
    "warmup_ratio": 0,
    "lr_scheduler": "linear",
    "weight_decay": 0.1,
    "max_grad_norm": 0.3,
    "max_seq_length": 256,
    "packing": True,
    "validation_interval": 10,
    "early_stopping_patience": 2,
    "optimizer": "adamw",
    "quantization": "nf4",
}


@pytest.fixture(scope="module")
def training_file(api: Api) -> str:
    return make_file(api.services, api.project_id).id


def method(**asked: Any) -> Any:
    return {"type": "supervised", "supervised": {"hyperparameters": asked}}


def test_openais_client_sends_ours_and_finds_them_in_the_job(
    api: Api, client: openai.OpenAI, training_file: str
) -> None:
    job = client.fine_tuning.jobs.create(
        model=BASE, training_file=training_file, validation_file=training_file, method=method(**EVERYTHING)
    )
    assert job.hyperparameters.model_dump() == AUTO
    assert job.method is not None
    assert job.method.supervised is not None
    assert job.method.supervised.hyperparameters is not None
    assert job.method.supervised.hyperparameters.model_dump() == AUTO | EVERYTHING
    assert client.fine_tuning.jobs.retrieve(job.id) == job
    with project_session(api.database, api.project_id) as session:
        assert session.get_one(JobRow, job.id).requested_hyperparameters == AUTO | EVERYTHING


@pytest.mark.parametrize("name", OF_METHOD)
def test_packing_is_for_what_is_learnt_token_by_token_and_refused_for_preferences(
    http: httpx.Client, training_file: str, name: MethodName
) -> None:
    named = {"type": name, name: {"hyperparameters": {"packing": True}}}
    answer = http.post("/v1/fine_tuning/jobs", json={"model": BASE, "training_file": training_file, "method": named})
    if name in BY_TOKENS:
        assert answer.status_code == 200, answer.text
        return
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (f"method.{name}.hyperparameters.packing", "unsupported_value")
    assert "use the method 'supervised' or 'continued_pretraining'" in error["message"]


def test_every_one_of_ours_can_be_left_to_the_server(client: openai.OpenAI, training_file: str) -> None:
    asked = dict.fromkeys(EVERYTHING, "auto")
    job = client.fine_tuning.jobs.create(model=BASE, training_file=training_file, method=method(**asked))
    assert job.method is not None
    assert job.method.supervised is not None
    assert job.method.supervised.hyperparameters is not None
    assert job.method.supervised.hyperparameters.model_dump() == AUTO | asked


OUT_OF_BOUNDS: list[tuple[str, Any, str, str]] = [
    ("learning_rate", 0, "decimal below minimum value. Expected a value > 0", "decimal_below_min_value"),
    ("learning_rate", 1.1, "decimal above maximum value. Expected a value <= 1", "decimal_above_max_value"),
    ("warmup_ratio", -0.1, "decimal below minimum value. Expected a value >= 0", "decimal_below_min_value"),
    ("warmup_ratio", 0.6, "decimal above maximum value. Expected a value <= 0.5", "decimal_above_max_value"),
    ("weight_decay", -1, "decimal below minimum value. Expected a value >= 0", "decimal_below_min_value"),
    ("weight_decay", 2, "decimal above maximum value. Expected a value <= 1", "decimal_above_max_value"),
    ("max_grad_norm", 0, "decimal below minimum value. Expected a value > 0", "decimal_below_min_value"),
    ("max_grad_norm", 101, "decimal above maximum value. Expected a value <= 100", "decimal_above_max_value"),
    ("max_seq_length", 15, "integer below minimum value. Expected a value >= 16", "integer_below_min_value"),
    ("max_seq_length", 9999, "integer above maximum value. Expected a value <= ", "integer_above_max_value"),
    ("validation_interval", 0, "integer below minimum value. Expected a value >= 1", "integer_below_min_value"),
]


@pytest.mark.parametrize(("name", "value", "words", "code"), OUT_OF_BOUNDS)
def test_a_number_out_of_bounds_is_refused_with_the_bound(
    http: httpx.Client, training_file: str, name: str, value: Any, words: str, code: str
) -> None:
    error = refused(http, training_file, {name: value})
    assert error["message"].startswith(f"Invalid '{PLACE}.{name}': {words}")
    assert error["message"].endswith(f"but got {value} instead.")
    assert (error["param"], error["code"]) == (f"{PLACE}.{name}", code)


_NUMBER, _WHOLE = "expected a number or 'auto'", "expected an integer or 'auto'"
WRONG_TYPES: list[tuple[str, Any, str]] = [
    ("learning_rate", "high", f"{_NUMBER}, but got a string instead."),
    ("warmup_ratio", True, f"{_NUMBER}, but got a boolean instead."),
    ("weight_decay", None, f"{_NUMBER}, but got null instead."),
    ("max_grad_norm", [1], f"{_NUMBER}, but got an array instead."),
    ("max_seq_length", 100.5, f"{_WHOLE}, but got a decimal instead."),
    ("validation_interval", "10", f"{_WHOLE}, but got a string instead."),
    ("packing", 1, "expected a boolean or 'auto', but got an integer instead."),
    ("packing", "yes", "expected a boolean or 'auto', but got a string instead."),
    ("lr_scheduler", 1, "expected 'cosine', 'cosine_with_min_lr', 'linear', 'constant', 'constant_with_warmup', "),
    ("optimizer", None, "expected 'adamw', 'adamw_8bit', 'paged_adamw_8bit', 'paged_adamw_32bit' or 'auto', but got "),
    ("quantization", 4, "expected 'none', 'int8', 'nf4' or 'auto', but got an integer instead."),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG_TYPES)
def test_a_value_of_another_type_is_refused_with_the_type(
    http: httpx.Client, training_file: str, name: str, value: Any, words: str
) -> None:
    error = refused(http, training_file, {name: value})
    assert error["message"].startswith(f"Invalid type for '{PLACE}.{name}': {words}")
    assert (error["param"], error["code"]) == (f"{PLACE}.{name}", "invalid_type")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("lr_scheduler", "cosin", "'constant_with_warmup', 'inverse_sqrt' or 'auto'."),
        ("optimizer", "lion", "'adamw', 'adamw_8bit', 'paged_adamw_8bit', 'paged_adamw_32bit' or 'auto'."),
        ("quantization", "int4", "'none', 'int8', 'nf4' or 'auto'."),
    ],
)
def test_a_word_that_is_not_known_is_refused_with_those_that_are(
    http: httpx.Client, training_file: str, name: str, value: str, words: str
) -> None:
    error = refused(http, training_file, {name: value})
    assert error["message"].startswith(f"Invalid value: '{value}'. Supported values are: ")
    assert error["message"].endswith(words)
    assert (error["param"], error["code"]) == (f"{PLACE}.{name}", "invalid_value")


@pytest.mark.parametrize("place", ["hyperparameters", PLACE])
def test_the_seed_has_one_place_and_that_is_openais(http: httpx.Client, training_file: str, place: str) -> None:
    body = {"hyperparameters": {"seed": 1}} if place == "hyperparameters" else {"method": method(seed=1)}
    answer = http.post("/v1/fine_tuning/jobs", json={"model": BASE, "training_file": training_file, **body})
    assert answer.json()["error"]["message"] == f"Unknown parameter: '{place}.seed'."


@pytest.mark.parametrize("path", ["jobs", "estimate"])
def test_an_optimizer_that_this_machine_has_not_is_refused_with_one_that_it_has(
    http: httpx.Client, training_file: str, path: str
) -> None:
    error = refused(http, training_file, {"optimizer": "paged_adamw_8bit"}, path=path)
    assert error["message"] == (
        "The optimizer 'paged_adamw_8bit' needs a CUDA GPU, and this server trains on a CPU. Use 'adamw'."
    )
    assert (error["param"], error["code"]) == (f"{PLACE}.optimizer", "unsupported_value")


def refused(http: httpx.Client, training_file: str, asked: dict[str, Any], *, path: str = "jobs") -> dict[str, Any]:
    body = {"model": BASE, "training_file": training_file, "method": method(**asked)}
    answer = http.post(f"/v1/fine_tuning/{path}", json=body)
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    return error


CPU = Circumstances(place=PLACE, context_length=1024, on_gpu=False, validates=False, packs=True)
GPU = Circumstances(place=PLACE, context_length=1024, on_gpu=True, validates=True, packs=True)
OF_PAIRS = replace(GPU, packs=False)
CONTRADICTIONS: dict[str, tuple[dict[str, Any], Circumstances, str, str]] = {
    "two learning rates": (
        {"learning_rate": 1e-4, "learning_rate_multiplier": 2},
        GPU,
        "they exclude each other. Give one of them.",
        f"{PLACE}.learning_rate",
    ),
    "a warm-up without one": (
        {"lr_scheduler": "constant", "warmup_ratio": 0.1},
        GPU,
        "Ask for 'constant_with_warmup', or leave 'warmup_ratio' out.",
        f"{PLACE}.warmup_ratio",
    ),
    "packed pairs": ({"packing": True}, OF_PAIRS, "pairs and judged answers do not share rows.", f"{PLACE}.packing"),
    "longer than the context": (
        {"max_seq_length": 1025},
        GPU,
        "Expected a value <= 1024, which is the base model's context, but got 1025 instead.",
        f"{PLACE}.max_seq_length",
    ),
    "8-bit moments on a CPU": ({"optimizer": "adamw_8bit"}, CPU, "Use 'adamw'.", f"{PLACE}.optimizer"),
    "patience with nothing to wait for": (
        {"early_stopping_patience": 2},
        CPU,
        "'early_stopping_patience' counts evaluations of the validation file. Add a 'validation_file'",
        "validation_file",
    ),
    "an interval of nothing": (
        {"validation_interval": 2},
        CPU,
        "'validation_interval' counts the steps between evaluations of the validation file. Add a 'validation_file'",
        "validation_file",
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_what_contradicts_itself_the_base_the_machine_or_the_data_is_refused(name: str) -> None:
    asked, circumstances, words, param = CONTRADICTIONS[name]
    with pytest.raises(InvalidRequest) as refusal:
        refuse_contradictions(TunedHyperparameters(**asked), circumstances)
    assert words in refusal.value.message
    assert refusal.value.param == param


@pytest.mark.parametrize(
    "asked",
    [
        {},
        EVERYTHING,
        {"learning_rate": 1e-4, "learning_rate_multiplier": "auto"},
        {"lr_scheduler": "constant", "warmup_ratio": 0},
        {"lr_scheduler": "constant_with_warmup", "warmup_ratio": 0.1},
        {"max_seq_length": 1024},
        {"optimizer": "paged_adamw_32bit"},
    ],
)
def test_what_contradicts_nothing_is_taken(asked: dict[str, Any]) -> None:
    refuse_contradictions(TunedHyperparameters(**asked), GPU)
