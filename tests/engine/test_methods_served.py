"""What each method trains, asked of the real engine: every one leaves a plain adapter on the same base."""

from pathlib import Path

import pytest
from preference_runs import ALL_METHODS, make_preference_run, preference_spec
from trainer_runs import train_here

from tests.adapter_files import refer_to
from tests.engine.conftest import BASE, BASE_NAME, EngineProcess
from tests.engine.scoring import compare_in_engine
from tests.method_rows import KeepRow
from tests.relay_server import RelayServer
from trainer.contract.golden import GoldenSamples, Verdict
from trainer.contract.spec import MethodName


@pytest.mark.parametrize("method", ALL_METHODS)
def test_the_engine_says_what_the_trained_model_says(
    method: MethodName,
    service: RelayServer,
    engine_process: EngineProcess,
    tmp_path: Path,
    keep_row: KeepRow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    run = train_here(make_preference_run(tmp_path / "run", preference_spec(BASE, method)))
    golden = GoldenSamples.model_validate_json((run.adapter / "golden_samples.json").read_bytes())
    adapter = refer_to(run.adapter, f"ft:{BASE_NAME}:acme:{method}:00000001", BASE_NAME, rank=4)
    service.run(service.engine.ensure_adapter(adapter))
    found = compare_in_engine(engine_process, adapter.name, golden)
    service.run(service.engine.forget_adapter(adapter.name))
    assert found.verdict == Verdict.REPRODUCED
    assert found.adapter_gap < 0.001
    error = f"{found.adapter_gap:.0e} nats a token; to the base alone {found.base_gap:.2f}"
    keep_row(method, "lora", served="as the adapter it is", log_probability_error=error)
