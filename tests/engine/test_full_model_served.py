"""What a run that trained all weights has published, served by a real engine of its own."""

import asyncio
import json
from pathlib import Path

from inference.engine import CHAT_PATH, AdapterRef, EngineRequest
from inference.examination import Proof
from inference.report import EngineReport
from inference.vllm.adapters import AdapterLimits
from inference.vllm.engine import VllmEngine
from inference.vllm.loading import AdapterChecks
from server.record.golden_examiner import GoldenExaminer
from tests.chunks import answer_of
from tests.engine.conftest import BASE, BASE_NAME, running_engine
from tests.full_models import refer_to_full
from tests.method_rows import KeepRow
from tests.trainer_runs import finish, make_run, make_spec

NAME = f"ft:{BASE_NAME}:acme:whole:abcd1234"
LEARNING_RATE = 5e-4  # what "auto" comes to for a base of this size


def test_a_published_full_model_answers_from_its_own_engine_with_what_was_trained(
    tmp_path: Path, keep_row: KeepRow
) -> None:
    method = {"n_epochs": 2, "learning_rate": LEARNING_RATE, "warmup_ratio": 0.0}
    spec = make_spec(BASE, lora=None, method=method, context_length_tokens=512)
    run = make_run(tmp_path / "run", spec)
    assert finish(run) == 0, run.log.read_text()
    model = refer_to_full(run.model, NAME, BASE_NAME)
    with running_engine(run.model, NAME, tmp_path / "engine.log", context_length=1024, max_loras=0) as process:
        report, answered = asyncio.run(prove_and_ask(process.command.socket, model))
    assert answered == NAME
    (proof,) = report.adapters
    assert proof.proof is not Proof.NONE
    assert proof.adapter_gap is not None
    assert proof.base_gap is not None
    assert proof.adapter_gap < 0.001  # the same weights in the same type; its base is further away
    assert proof.base_gap > 10 * proof.adapter_gap
    error = f"{proof.adapter_gap:.0e} nats a token; to the base alone {proof.base_gap:.2f}"
    keep_row("supervised", "full", served="by an engine of its own", log_probability_error=error)


async def prove_and_ask(socket: Path, model: AdapterRef) -> tuple[EngineReport, str]:
    limits, checks = AdapterLimits(max_resident=1, max_rank=16), AdapterChecks(examiner=GoldenExaminer())
    engine = VllmEngine(base_model=NAME, socket=socket, limits=limits, checks=checks, is_full=True)
    body = json.dumps({"model": NAME, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5})
    try:
        await engine.ensure_adapter(model)
        answer = json.loads(await answer_of(engine, EngineRequest(CHAT_PATH, body.encode(), stream=False), model))
        return await engine.report(), str(answer["model"])
    finally:
        await engine.close()
