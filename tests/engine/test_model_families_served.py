"""Each family of base models in the real engine: it renders what was trained on, and says what the trainer says."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from families import FAMILIES, SERVED_WITHIN, Family, make_family
from trainer_runs import assistant, make_run, make_spec, train_here, user, write_lines

from inference.base_shapes import read_base_shapes
from inference.vllm.adapters import AdapterLimits
from inference.vllm.engine import VllmEngine
from inference.vllm.loading import AdapterChecks
from server.base_models import BaseModelEntry
from server.record.golden_examiner import GoldenExaminer
from tests.adapter_files import refer_to
from tests.engine.conftest import EngineProcess, running_engine
from tests.engine.test_golden_samples_served import compare_in_engine
from tests.relay_server import RelayServer
from trainer.contract.golden import GoldenSamples, Verdict
from trainer.contract.run_directory import RunDirectory
from trainer.contract.spec import BaseModelSource
from trainer.dataset import tokenize_files
from trainer.tokenizer import load_chat_tokenizer

IN_EVERY_RUN = ("gemma3", "qwen3-moe")  # the two that differ most from the demo model, a Qwen 3


@dataclass
class Served:
    family: Family
    base: Path
    run: RunDirectory
    engine: EngineProcess

    def render(self, messages: list[Any]) -> list[int]:
        """What the engine makes of a conversation."""
        body = {"model": "base", "messages": messages, "add_generation_prompt": True}
        transport = httpx.HTTPTransport(uds=str(self.engine.command.socket))
        with httpx.Client(transport=transport, base_url="http://engine", timeout=60) as http:
            tokens: list[int] = http.post("/tokenize", json=body).raise_for_status().json()["tokens"]
        return tokens


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name in IN_EVERY_RUN else pytest.mark.torture, id=name) for name in FAMILIES
    ],
)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("family")
    family = FAMILIES[request.param]
    base = make_family(family, root / "base")
    lora: Any = {"rank": 8, "alpha": 16, "dropout": 0.0, "target_modules": "all-linear"}
    method = {"n_epochs": 3, "learning_rate": 2e-2}
    spec = make_spec(base, lora=lora, method=method, checkpoint_every_steps=0)
    run = train_here(make_run(root / "run", spec, n_examples=12))
    with running_engine(base, "base", root / "engine.log", context_length=256) as engine:
        yield Served(family, base, run, engine)


def test_the_engine_says_with_the_adapter_what_the_trainer_says(served: Served) -> None:
    golden = GoldenSamples.model_validate_json((served.run.adapter / "golden_samples.json").read_bytes())
    adapter = refer_to(served.run.adapter, "ft:base:acme:family:00000001", "base", rank=8)
    checks = AdapterChecks(partial(read_base_shapes, served.base), GoldenExaminer())
    limits = AdapterLimits(max_resident=4, max_rank=16)
    socket = served.engine.command.socket
    make_engine = partial(VllmEngine, base_model="base", socket=socket, limits=limits, checks=checks)
    entry = BaseModelEntry(name="base", source=str(served.base), context_length=256)
    with RelayServer(make_engine, entry) as relay:
        relay.run(relay.engine.ensure_adapter(adapter))
        of_adapter, of_base = (compare_in_engine(served.engine, name, golden) for name in (adapter.name, "base"))
    print(f"from the adapter {of_adapter.adapter_gap:.1e}, from the base {of_adapter.base_gap:.4f}")  # noqa: T201
    assert golden.is_distinct
    assert of_adapter.verdict == Verdict.REPRODUCED
    assert of_adapter.adapter_gap < SERVED_WITHIN
    assert of_base.verdict == Verdict.IS_BASE


def test_the_engine_renders_a_prompt_as_it_was_trained(served: Served, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    turns = [user("What is it?"), assistant("It is what it is."), user("Is it?"), assistant("yes", weight=1)]
    write_lines(run.training_file, [{"messages": [*turns[:1], {**turns[1], "weight": 0}, *turns[2:]]}])
    tokenizer = load_chat_tokenizer(BaseModelSource(source=str(served.base)))
    (example,) = tokenize_files(run, tokenizer, context_length_tokens=256)[0][:]
    first = int(example.trained_L.argmax())
    prompt = [{"role": turn["role"], "content": turn["content"]} for turn in turns[:-1]]
    assert served.render(prompt) == example.input_ids_L[:first].tolist()
