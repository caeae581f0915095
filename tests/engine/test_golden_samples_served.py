"""The golden samples of an adapter that was really trained, asked of the real engine."""

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from safetensors.torch import load_file, save_file
from trainer_runs import make_run, make_spec, train_here

from inference.engine import AdapterRejected
from inference.examination import Proof
from tests.adapter_files import refer_to
from tests.engine.conftest import BASE, BASE_NAME, EngineProcess, ask
from tests.engine.scoring import compare_in_engine
from tests.relay_server import RelayServer
from trainer.contract.golden import GoldenSamples, Verdict
from trainer.contract.run_directory import RunDirectory

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    lora: dict[str, Any] = {"rank": 8, "alpha": 16, "dropout": 0.0, "target_modules": "all-linear"}
    spec = make_spec(BASE, lora=lora, method={"n_epochs": 4})
    return train_here(make_run(tmp_path_factory.mktemp("golden") / "run", spec))


def test_the_engine_reproduces_them_with_the_adapter_and_not_without(
    service: RelayServer, engine_process: EngineProcess, trained: RunDirectory
) -> None:
    golden = GoldenSamples.model_validate_json((trained.adapter / "golden_samples.json").read_bytes())
    adapter = refer_to(trained.adapter, f"ft:{BASE_NAME}:acme:golden:00000001", BASE_NAME, rank=8)
    service.run(service.engine.ensure_adapter(adapter))
    with_adapter, of_base = (compare_in_engine(engine_process, name, golden) for name in (adapter.name, BASE_NAME))
    print(f"from the adapter {with_adapter.adapter_gap:.6f}, from the base {with_adapter.base_gap:.4f}")  # noqa: T201
    assert golden.is_distinct
    assert with_adapter.verdict == Verdict.REPRODUCED
    assert of_base.verdict == Verdict.IS_BASE


def test_an_adapter_is_admitted_as_proven_while_others_are_answered(
    service: RelayServer, client: openai.OpenAI, trained: RunDirectory
) -> None:
    busy = service.add_model(refer_to(trained.adapter, f"ft:{BASE_NAME}:acme:golden:00000002", BASE_NAME, rank=8))
    alone = {name: ask(client, name) for name in (BASE_NAME, busy.name)}
    adapter = refer_to(trained.adapter, f"ft:{BASE_NAME}:acme:golden:00000003", BASE_NAME, rank=8)
    with _asking(client, alone) as wrong:
        for _ in range(5):
            service.run(service.engine.ensure_adapter(adapter))
            adapters = service.run(service.engine.report()).adapters
            (report,) = (found for found in adapters if found.name == adapter.name)
            print(f"loaded in {report.load_s:.3f} s, checked in {report.check_s:.3f}")  # noqa: T201
            assert report.proof == Proof.REPRODUCED
            assert report.adapter_gap is not None
            assert report.adapter_gap < 0.001
            service.run(service.engine.forget_adapter(adapter.name))
    assert wrong == []


def test_other_weights_with_its_samples_are_rejected(
    service: RelayServer, trained: RunDirectory, adapter_files: Callable[[int], Path], tmp_path: Path
) -> None:
    other = shutil.copytree(adapter_files(1), tmp_path / "other")
    shutil.copyfile(trained.adapter / "golden_samples.json", other / "golden_samples.json")
    adapter = refer_to(other, f"ft:{BASE_NAME}:acme:golden:00000004", BASE_NAME, rank=8)
    with pytest.raises(AdapterRejected, match="does not say what was said"):
        service.run(service.engine.ensure_adapter(adapter))


def test_an_adapter_that_the_engine_does_not_apply_is_rejected(
    service: RelayServer, trained: RunDirectory, tmp_path: Path
) -> None:
    directory = shutil.copytree(trained.adapter, tmp_path / "without-effect")
    weights = load_file(directory / WEIGHTS)
    save_file({name: tensor * ("lora_A" in name) for name, tensor in weights.items()}, directory / WEIGHTS)
    adapter = refer_to(directory, f"ft:{BASE_NAME}:acme:golden:00000005", BASE_NAME, rank=8)
    with pytest.raises(AdapterRejected, match="the base model answers in its place"):
        service.run(service.engine.ensure_adapter(adapter))


def test_an_answer_names_the_weights_it_came_from(
    service: RelayServer, client: openai.OpenAI, trained: RunDirectory
) -> None:
    adapter = service.add_model(refer_to(trained.adapter, f"ft:{BASE_NAME}:acme:golden:00000006", BASE_NAME, rank=8))
    sha256 = hashlib.sha256((trained.adapter / WEIGHTS).read_bytes()).hexdigest()
    question: list[Any] = [{"role": "user", "content": "Hello"}]
    for name, expected in ((adapter.name, f"sha256:{sha256}"), (BASE_NAME, "none")):
        answer = client.chat.completions.with_raw_response.create(model=name, messages=question, max_tokens=2)
        assert answer.headers["x-tunesmith-adapter"] == expected


@contextmanager
def _asking(client: openai.OpenAI, expected: dict[str, str]) -> Iterator[list[str]]:
    """Keep asking each model, beside what happens in the context; give those that said something else."""
    wrong: list[str] = []
    stop = threading.Event()

    def keep_asking(name: str) -> None:
        while not stop.is_set():
            if ask(client, name) != expected[name]:
                wrong.append(name)

    threads = [threading.Thread(target=keep_asking, args=(name,)) for name in expected for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        for thread in threads:
            thread.join()
