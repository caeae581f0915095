"""The golden samples of an adapter that was really trained, asked of the real engine."""

from typing import Any

import pytest
from trainer_runs import make_run, make_spec, train_here

from inference.engine import AdapterRef
from tests.engine.conftest import BASE, BASE_NAME, EngineProcess
from tests.engine.scoring import score_in_engine
from tests.relay_server import RelayServer
from trainer.contract.golden import GoldenSamples, Verdict, compare
from trainer.contract.run_directory import RunDirectory


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    lora: dict[str, Any] = {"rank": 8, "alpha": 16, "dropout": 0.0, "target_modules": "all-linear"}
    spec = make_spec(BASE, lora=lora, method={"n_epochs": 4})
    return train_here(make_run(tmp_path_factory.mktemp("golden") / "run", spec))


def test_the_engine_reproduces_them_with_the_adapter_and_not_without(
    service: RelayServer, engine_process: EngineProcess, trained: RunDirectory
) -> None:
    golden = GoldenSamples.model_validate_json((trained.adapter / "golden_samples.json").read_bytes())
    adapter = service.add_model(AdapterRef(f"ft:{BASE_NAME}:acme:golden:00000001", BASE_NAME, trained.adapter, 8))
    service.run(service.engine.ensure_adapter(adapter))
    with_adapter, of_base = (ask(engine_process, name, golden) for name in (adapter.name, BASE_NAME))
    print(f"from the adapter {with_adapter.adapter_gap:.6f}, from the base {with_adapter.base_gap:.4f}")  # noqa: T201
    assert golden.is_distinct
    assert with_adapter.verdict == Verdict.REPRODUCED
    assert of_base.verdict == Verdict.IS_BASE


def ask(engine: EngineProcess, model: str, golden: GoldenSamples) -> Any:
    measured = []
    for sample in golden.samples:
        tokens = [*sample.prompt_token_ids, *sample.sampled_token_ids]
        measured.append(score_in_engine(engine, model, tokens)[-len(sample.sampled_token_ids) :])
    return compare(golden, measured)
