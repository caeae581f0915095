"""The seam of three: samples that a trainer leaves, a server that judges them, an engine that is asked for them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference.adapter_files import WEIGHTS
from inference.engine import CHAT_PATH, AdapterRef, AdapterRejected, EngineRequest, EngineUnavailable
from inference.examination import Proof
from inference.report import AdapterReport
from inference.vllm.adapters import AdapterLimits
from inference.vllm.engine import VllmEngine
from inference.vllm.loading import AdapterChecks
from server.record.golden_examiner import GoldenExaminer
from server.record.manifest import list_files
from tests.adapter_files import refer_to, write_adapter
from tests.chunks import answer_of
from tests.fake_vllm import FakeVllm
from tests.golden_files import write_golden_samples
from tests.records import make_manifest
from trainer.contract.golden import TOLERANCE
from trainer.contract.spec import Quantization

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def vllm(tmp_path: Path) -> AsyncIterator[FakeVllm]:
    vllm = FakeVllm(tmp_path / "e.sock")
    await vllm.start()
    yield vllm
    await vllm.stop()


@pytest.fixture
async def engine(vllm: FakeVllm) -> AsyncIterator[VllmEngine]:
    limits = AdapterLimits(max_resident=3, max_rank=16, watch_interval_s=0.01)
    checks = AdapterChecks(examiner=GoldenExaminer())
    engine = VllmEngine(base_model="base", socket=vllm.socket, limits=limits, checks=checks)
    yield engine
    await engine.close()


def make_adapter(root: Path, number: int = 1) -> AdapterRef:
    directory = write_adapter(root / f"adapter-{number}", second_factor=bytes([number]))
    return refer_to(directory, f"ft:base:acme::{number}", "base")


async def ask(engine: VllmEngine, adapter: AdapterRef) -> str:
    body = {"model": adapter.name, "messages": [{"role": "user", "content": "Hello"}]}
    raw = await answer_of(engine, EngineRequest(CHAT_PATH, json.dumps(body).encode(), stream=False), adapter)
    return str(json.loads(raw)["model"])


async def resident(engine: VllmEngine) -> dict[str, AdapterReport]:
    return {adapter.name: adapter for adapter in (await engine.report()).adapters}


async def test_an_adapter_that_says_what_its_training_said_is_proven(engine: VllmEngine, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path)
    write_golden_samples(adapter.directory)
    assert await ask(engine, adapter) == adapter.name
    report = (await resident(engine))[adapter.name]
    assert (report.proof, report.adapter_gap, report.sha256) == (Proof.REPRODUCED, 0.0, adapter.sha256)
    assert report.base_gap is not None
    assert report.base_gap > 0.5
    assert report.first_answer_s is not None
    assert report.first_answer_s >= report.load_s >= report.check_s > 0


async def test_the_check_comes_before_the_first_answer_and_once_a_load(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path)
    write_golden_samples(adapter.directory)
    await asyncio.gather(*(ask(engine, adapter) for _ in range(5)))
    assert vllm.scored == [adapter.name] * 2, "two samples"
    await ask(engine, adapter)
    assert len(vllm.scored) == 2
    vllm.loaded.clear()
    assert await ask(engine, adapter) == adapter.name
    assert len(vllm.scored) == 4, "what the engine lost must prove itself anew"


async def test_rounding_is_forgiven_and_more_is_not(engine: VllmEngine, tmp_path: Path) -> None:
    rounded, other = make_adapter(tmp_path, 1), make_adapter(tmp_path, 2)
    write_golden_samples(rounded.directory, off=TOLERANCE * 0.9)
    write_golden_samples(other.directory, off=TOLERANCE * 1.1)
    await engine.ensure_adapter(rounded)
    with pytest.raises(AdapterRejected, match="does not say what was said"):
        await engine.ensure_adapter(other)


async def test_weights_under_another_adapters_samples_are_rejected_and_unloaded(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    one, other = make_adapter(tmp_path, 1), make_adapter(tmp_path, 2)
    write_golden_samples(one.directory, of=other.directory)
    with pytest.raises(AdapterRejected, match="does not say what was said"):
        await ask(engine, one)
    assert vllm.loaded == {}
    assert await resident(engine) == {}


async def test_an_adapter_that_is_not_applied_is_rejected_in_so_many_words(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path)
    write_golden_samples(adapter.directory)
    vllm.ignores_adapters = True
    with pytest.raises(AdapterRejected, match="the base model answers in its place"):
        await ask(engine, adapter)
    assert vllm.loaded == {}


async def test_an_adapter_that_barely_moves_the_base_is_served_as_undecided(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path)
    vllm.faint = {adapter.name}
    write_golden_samples(adapter.directory, faint=True, off=0.001)
    assert await ask(engine, adapter) == adapter.name
    assert (await resident(engine))[adapter.name].proof == Proof.UNDECIDED


async def test_an_undecided_adapter_must_be_applied_all_the_same(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path)
    vllm.faint, vllm.ignores_adapters = {adapter.name}, True
    write_golden_samples(adapter.directory, faint=True)
    with pytest.raises(AdapterRejected, match="does not apply it"):
        await ask(engine, adapter)


async def test_an_adapter_that_should_be_far_from_the_base_is_not_served_while_it_is_near(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path)
    vllm.faint = {adapter.name}
    write_golden_samples(adapter.directory)
    with pytest.raises(AdapterRejected):
        await ask(engine, adapter)


async def test_an_adapter_that_never_had_samples_is_served_without_proof(engine: VllmEngine, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path)
    assert await ask(engine, adapter) == adapter.name
    report = (await resident(engine))[adapter.name]
    assert (report.proof, report.adapter_gap, report.base_gap) == (Proof.NONE, None, None)


async def test_an_adapter_whose_samples_were_taken_away_is_rejected(engine: VllmEngine, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path)
    samples = write_golden_samples(adapter.directory)
    manifest = make_manifest(files=list_files(adapter.directory))
    (adapter.directory / "manifest.json").write_bytes(manifest.dump())
    samples.unlink()
    with pytest.raises(AdapterRejected, match=r"golden_samples\.json is missing"):
        await ask(engine, adapter)


def _changed(change: Callable[[Any], None]) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        golden = json.loads(data)
        change(golden)
        return json.dumps(golden).encode()

    return damage


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "cut short": lambda data: data[: len(data) // 2],
    "noise": lambda data: b"\xff" * len(data),
    "far too long": lambda data: b" " * 2 * 1024**2 + data,
    "no samples": _changed(lambda golden: golden.update(samples=[])),
    "a sample of nothing": _changed(
        lambda golden: golden["samples"][0].update(sampled_token_ids=[], adapter_logprobs=[], base_logprobs=[])
    ),
    "a number too few": _changed(lambda golden: golden["samples"][0]["adapter_logprobs"].pop()),
    "a number that is none": _changed(lambda golden: golden["samples"][0].update(adapter_logprobs=[float("nan")] * 4)),
    "any answer will do": _changed(lambda golden: golden.update(tolerance=1e9)),
    "said to be near the base": _changed(lambda golden: golden.update(is_distinct=False)),
    "another version": _changed(lambda golden: golden.update(version=2)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
async def test_damaged_samples_prove_nothing(
    engine: VllmEngine, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    adapter = make_adapter(tmp_path)
    path = write_golden_samples(adapter.directory)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(AdapterRejected, match=r"golden_samples\.json is damaged"):
        await ask(engine, adapter)


async def test_probabilities_that_are_no_numbers_are_rejected(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path)
    write_golden_samples(adapter.directory)
    vllm.babbling = {adapter.name}
    with pytest.raises(AdapterRejected, match="cannot answer with the adapter"):
        await ask(engine, adapter)


async def test_an_engine_that_dies_of_the_check_is_no_fault_of_the_adapter(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path)
    write_golden_samples(adapter.directory)
    vllm.dies_of_scoring = True
    with pytest.raises(EngineUnavailable):
        await ask(engine, adapter)
    vllm.dies_of_scoring = False
    await vllm.restart()
    assert await ask(engine, adapter) == adapter.name


async def test_bytes_changed_on_the_disk_never_reach_the_engine(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path)
    write_adapter(adapter.directory, second_factor=b"\x07")
    write_golden_samples(adapter.directory)
    with pytest.raises(AdapterRejected, match="not the one that was published"):
        await ask(engine, adapter)
    assert vllm.loads == []


async def test_two_adapters_whose_files_are_swapped_are_both_rejected(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    one, two = make_adapter(tmp_path, 1), make_adapter(tmp_path, 2)
    for mine, other in ((one, two), (two, one)):
        with pytest.raises(AdapterRejected, match="not the one that was published"):
            await ask(engine, replace(mine, directory=other.directory))
    assert vllm.loads == []


async def test_a_rejected_adapter_is_not_loaded_again_until_its_files_change(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapter, other = make_adapter(tmp_path, 1), make_adapter(tmp_path, 2)
    write_golden_samples(adapter.directory, of=other.directory)
    for _ in range(5):
        with pytest.raises(AdapterRejected, match="does not say what was said"):
            await ask(engine, adapter)
    assert vllm.loads == [adapter.name]
    (rejected,) = (await engine.report()).rejected
    assert (rejected.name, "does not say what was said" in rejected.reason) == (adapter.name, True)
    write_golden_samples(adapter.directory)
    assert await ask(engine, adapter) == adapter.name
    assert (await engine.report()).rejected == ()


async def test_a_new_engine_process_is_asked_for_a_rejected_adapter_anew(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path)
    write_golden_samples(adapter.directory)
    vllm.ignores_adapters = True
    with pytest.raises(AdapterRejected):
        await ask(engine, adapter)
    vllm.ignores_adapters = False
    await vllm.restart()
    assert await ask(engine, adapter) == adapter.name


async def test_a_try_again_is_not_taken_for_a_rejection(engine: VllmEngine, vllm: FakeVllm, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path)
    vllm.is_dead = True
    with pytest.raises(EngineUnavailable):
        await ask(engine, adapter)
    vllm.is_dead = False
    assert await ask(engine, adapter) == adapter.name


async def test_an_adapter_changed_while_it_was_loaded_is_rejected(
    engine: VllmEngine, vllm: FakeVllm, tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path)
    vllm.hold_loads = asyncio.Event()
    asking = asyncio.create_task(ask(engine, adapter))
    async with asyncio.timeout(10):
        while not vllm.loads:
            await asyncio.sleep(0.01)
    (adapter.directory / WEIGHTS).touch()
    vllm.hold_loads.set()
    with pytest.raises(AdapterRejected, match="changed while"):
        await asking
    assert vllm.loaded == {}


async def test_a_name_never_answers_with_weights_of_another_hash(engine: VllmEngine, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path)
    await ask(engine, adapter)
    with pytest.raises(AdapterRejected, match="another adapter"):
        await ask(engine, replace(adapter, sha256="0" * 64))
    assert await ask(engine, adapter) == adapter.name


@pytest.mark.parametrize(("proven_on", "served_in"), [(None, "nf4"), ("nf4", None), ("int8", "nf4")])
async def test_what_was_proven_on_another_form_of_the_base_is_rejected_without_asking(
    vllm: FakeVllm, tmp_path: Path, proven_on: Quantization | None, served_in: str | None
) -> None:
    adapter = make_adapter(tmp_path)
    write_golden_samples(adapter.directory, quantization=proven_on)
    with pytest.raises(AdapterRejected, match=f"then: {proven_on or 'as its files are'}; now: {served_in or 'as its'}"):
        await _ensure_where_it_is_served(vllm, adapter, served_in)
    assert (vllm.scored, vllm.loaded) == ([], {})


async def test_what_was_proven_on_the_quantised_base_is_admitted_there(vllm: FakeVllm, tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path)
    write_golden_samples(adapter.directory, quantization="nf4")
    await _ensure_where_it_is_served(vllm, adapter, "nf4")


async def test_one_without_samples_is_held_to_the_form_in_its_manifest(vllm: FakeVllm, tmp_path: Path) -> None:
    without, with_one = make_adapter(tmp_path, 1), make_adapter(tmp_path, 2)
    (with_one.directory / "manifest.json").write_bytes(make_manifest(served_in="nf4").dump())
    await _ensure_where_it_is_served(vllm, with_one, "nf4")
    with pytest.raises(AdapterRejected, match="then: as its files are; now: nf4"):
        await _ensure_where_it_is_served(vllm, without, "nf4")


async def _ensure_where_it_is_served(vllm: FakeVllm, adapter: AdapterRef, served_in: str | None) -> None:
    limits = AdapterLimits(max_resident=3, max_rank=16)
    checks = AdapterChecks(examiner=GoldenExaminer(served_in))
    engine = VllmEngine(base_model="base", socket=vllm.socket, limits=limits, checks=checks)
    try:
        await engine.ensure_adapter(adapter)
    finally:
        await engine.close()
