"""A full model proves itself to whoever asks its engine, once a process, and before the first answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inference.engine import CHAT_PATH, AdapterRef, AdapterRejected, EngineRequest, EngineUnavailable
from inference.examination import Proof
from inference.vllm.adapters import AdapterLimits
from inference.vllm.engine import VllmEngine
from inference.vllm.loading import AdapterChecks
from inference.vllm.own_weights import WEIGHTS
from server.record.golden_examiner import GoldenExaminer
from tests.chunks import answer_of
from tests.fake_vllm import FakeVllm, voice_of
from tests.full_models import refer_to_full, write_full_model
from tests.golden_files import write_golden_samples
from trainer.contract.golden import GOLDEN_SAMPLES

pytestmark = pytest.mark.anyio
NAME = "ft:base:acme:whole:abcd1234"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def model(tmp_path: Path) -> AdapterRef:
    directory = write_full_model(tmp_path / "model")
    write_golden_samples(directory)
    return refer_to_full(directory, NAME, "base")


@pytest.fixture
async def vllm(tmp_path: Path, model: AdapterRef) -> AsyncIterator[FakeVllm]:
    vllm = FakeVllm(tmp_path / "e.sock", base_model=NAME, own_voice=voice_of(model.directory))
    await vllm.start()
    yield vllm
    await vllm.stop()


@pytest.fixture
async def engine(vllm: FakeVllm) -> AsyncIterator[VllmEngine]:
    engine = VllmEngine(
        base_model=NAME,
        socket=vllm.socket,
        limits=AdapterLimits(max_resident=1, max_rank=16, drain_timeout_s=0.05, watch_interval_s=0.01),
        checks=AdapterChecks(examiner=GoldenExaminer()),
        is_full=True,
    )
    yield engine
    await engine.close()


async def ask(engine: VllmEngine, model: AdapterRef) -> str:
    body = {"model": NAME, "messages": [{"role": "user", "content": "Hello"}]}
    raw = await answer_of(engine, EngineRequest(CHAT_PATH, json.dumps(body).encode(), stream=False), model)
    return str(json.loads(raw)["model"])


async def test_it_is_proven_before_the_first_answer_and_once_a_process(
    engine: VllmEngine, vllm: FakeVllm, model: AdapterRef
) -> None:
    assert await asyncio.gather(*(ask(engine, model) for _ in range(5))) == [NAME] * 5
    assert vllm.scored == [NAME] * 2, "two samples"
    assert vllm.loads == [], "nothing is loaded into an engine that has its own weights"
    (report,) = (await engine.report()).adapters
    assert (report.proof, report.adapter_gap, report.sha256, report.pins) == (
        Proof.REPRODUCED,
        0.0,
        model.sha256,
        0,
    )
    await vllm.restart()
    assert await ask(engine, model) == NAME
    assert len(vllm.scored) == 4


@pytest.mark.parametrize("says", ["the base", "another"])
async def test_an_engine_with_other_weights_never_answers(
    engine: VllmEngine, vllm: FakeVllm, model: AdapterRef, says: str
) -> None:
    vllm.own_voice = 0 if says == "the base" else 7
    for _ in range(2):
        with pytest.raises(AdapterRejected, match="what was said when they were trained"):
            await ask(engine, model)
    assert len(vllm.scored) == 2, "what was found is remembered while the process lives"
    assert [rejection.name for rejection in (await engine.report()).rejected] == [NAME]
    await vllm.restart()
    vllm.own_voice = voice_of(model.directory)
    assert await ask(engine, model) == NAME


async def test_weights_that_are_not_the_published_ones_are_not_even_asked(
    engine: VllmEngine, vllm: FakeVllm, model: AdapterRef
) -> None:
    write_full_model(model.directory, number=2)
    with pytest.raises(AdapterRejected, match="not the one that was published"):
        await ask(engine, model)
    assert vllm.scored == []


@pytest.mark.parametrize("name", [WEIGHTS, GOLDEN_SAMPLES])
async def test_a_model_without_one_of_its_files_is_rejected(engine: VllmEngine, model: AdapterRef, name: str) -> None:
    (model.directory / name).unlink()
    with pytest.raises(AdapterRejected):
        await ask(engine, model)


async def test_an_engine_that_dies_of_it_is_away_and_the_model_is_not_to_blame(
    engine: VllmEngine, vllm: FakeVllm, model: AdapterRef
) -> None:
    vllm.dies_of_scoring = True
    with pytest.raises(EngineUnavailable):
        await ask(engine, model)
    assert (await engine.report()).rejected == ()


async def test_a_model_that_is_removed_ends_its_answers_and_gives_no_more(
    engine: VllmEngine, vllm: FakeVllm, model: AdapterRef
) -> None:
    vllm.hold = asyncio.Event()
    answer = asyncio.create_task(ask(engine, model))
    while not vllm.running:
        assert not answer.done()
        await asyncio.sleep(0)
    await engine.forget_adapter(NAME)
    with pytest.raises(EngineUnavailable):
        await answer
    with pytest.raises(AdapterRejected, match="being removed"):
        await ask(engine, model)


async def test_forgetting_a_model_whose_engine_is_away_is_done_at_once(engine: VllmEngine, vllm: FakeVllm) -> None:
    await vllm.stop()
    await engine.forget_adapter(NAME)
