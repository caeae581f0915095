"""A base model that its engine serves in 4 bits, and adapters that were trained on it and on the unquantised one."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_runs import make_run, make_spec, train_here

from inference.base_shapes import read_base_shapes
from inference.engine import AdapterRejected
from inference.examination import Proof
from inference.vllm.adapters import AdapterLimits
from inference.vllm.engine import VllmEngine
from inference.vllm.loading import AdapterChecks
from server.base_models import BaseModelEntry
from server.record.golden_examiner import GoldenExaminer
from tests.adapter_files import refer_to
from tests.engine.conftest import BASE, BASE_NAME, EngineProcess, ask, running_engine
from tests.engine.scoring import compare_in_engine
from tests.relay_server import RelayServer
from trainer.contract.golden import GoldenSamples
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import MemoryPlan, Quantization, ServingLimits

NF4: Quantization = "nf4"


@pytest.fixture(scope="module")
def quantised_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    log = tmp_path_factory.mktemp("nf4") / "engine.log"
    with running_engine(BASE, BASE_NAME, log, context_length=256, cpu_dtype="bfloat16", quantization=NF4) as process:
        yield process


@pytest.fixture(scope="module")
def quantised_service(quantised_process: EngineProcess) -> Iterator[RelayServer]:
    base = BaseModelEntry(name=BASE_NAME, source=str(BASE), context_length=256, serve_quantized=NF4)
    checks = AdapterChecks(partial(read_base_shapes, BASE), GoldenExaminer(NF4))
    limits = AdapterLimits(max_resident=2, max_rank=64)
    socket = quantised_process.command.socket
    make_engine = partial(VllmEngine, base_model=BASE_NAME, socket=socket, limits=limits, checks=checks)
    with RelayServer(make_engine, base) as server:
        yield server


def train(root: Path, trained_in: Quantization | None, served_in: Quantization | None) -> RunDirectory:
    lora: dict[str, Any] = {"rank": 8, "alpha": 16, "dropout": 0.0, "target_modules": "all-linear"}
    memory = MemoryPlan(micro_batch_tokens=4096, gradient_checkpointing=False, quantization=trained_in)
    serving = ServingLimits(quantization=served_in)
    return train_here(
        make_run(root, make_spec(BASE, lora=lora, method={"n_epochs": 3}, memory=memory, serving=serving))
    )


@pytest.mark.parametrize("trained_in", [NF4, None])
def test_an_adapter_is_proven_on_the_quantised_base_whichever_it_was_trained_on(
    trained_in: Quantization | None, quantised_service: RelayServer, quantised_process: EngineProcess, tmp_path: Path
) -> None:
    prove(trained_in, quantised_service, quantised_process, tmp_path)


@pytest.mark.gpu
@pytest.mark.parametrize("trained_in", [NF4, "int8", None])
def test_on_a_gpu_it_is_proven_with_bfloat16_training_and_graphs_in_the_engine(
    trained_in: Quantization | None, quantised_service: RelayServer, quantised_process: EngineProcess, tmp_path: Path
) -> None:
    assert torch.cuda.is_available()
    prove(trained_in, quantised_service, quantised_process, tmp_path)


def prove(
    trained_in: Quantization | None, quantised_service: RelayServer, quantised_process: EngineProcess, tmp_path: Path
) -> None:
    run = train(tmp_path / "run", trained_in, NF4)
    golden = GoldenSamples.model_validate_json((run.adapter / "golden_samples.json").read_bytes())
    adapter = refer_to(run.adapter, f"ft:{BASE_NAME}:acme:{trained_in or 'none'}:00000001", BASE_NAME, rank=8)
    quantised_service.run(quantised_service.engine.ensure_adapter(adapter))
    (report,) = quantised_service.run(quantised_service.engine.report()).adapters
    found = compare_in_engine(quantised_process, adapter.name, golden)
    print(f"trained in {trained_in}: {found.adapter_gap:.4f} away, drift {golden.training_gap}")  # noqa: T201
    assert (golden.quantization, golden.is_distinct, report.proof) == (NF4, True, Proof.REPRODUCED)
    assert (golden.drift is None) == (trained_in == NF4)
    quantised_service.run(quantised_service.engine.forget_adapter(adapter.name))


def test_an_adapter_that_was_proven_on_the_unquantised_base_is_rejected_by_rule(
    quantised_service: RelayServer, tmp_path: Path
) -> None:
    run = train(tmp_path / "run", None, None)
    adapter = refer_to(run.adapter, f"ft:{BASE_NAME}:acme:plain:00000001", BASE_NAME, rank=8)
    with pytest.raises(AdapterRejected, match="served in another form when the model was made"):
        quantised_service.run(quantised_service.engine.ensure_adapter(adapter))


def test_the_quantised_base_answers(quantised_service: RelayServer) -> None:
    with quantised_service.client() as client:
        assert ask(client, BASE_NAME)
