"""The real engine killed in the middle of what it does; and what it writes about what it was asked."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from inference.engine import AdapterRef
from tests.engine.conftest import BASE_NAME, EngineProcess, ask
from tests.relay_server import RelayServer

CANARY = "quokka-7731-marmalade"


def test_the_engines_log_holds_nothing_of_what_was_asked_or_answered(
    client: openai.OpenAI, service: RelayServer, engine_process: EngineProcess
) -> None:
    """Good requests and requests that it refuses, among them some that the relay would not have let through."""
    messages: Any = [{"role": "user", "content": CANARY}, {"role": "assistant", "content": CANARY}]
    ask(client, BASE_NAME, text=CANARY, stop=[CANARY], logprobs=True)
    for options in (
        {"text": f"{CANARY} " * 3000},
        {"logit_bias": {"9999999": 1}},
        {"max_tokens": 5000},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": CANARY}}}},
    ):
        with pytest.raises(openai.BadRequestError):
            ask(client, BASE_NAME, **options)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=BASE_NAME, messages=messages, extra_body={"chat_template": CANARY})
    assert CANARY not in engine_process.log.read_text(errors="replace")


def test_an_engine_killed_in_the_middle_of_a_stream_is_an_error_the_client_sees_and_then_it_serves_again(
    service: RelayServer,
    client: openai.OpenAI,
    engine_process: EngineProcess,
    new_model: Callable[[int], AdapterRef],
) -> None:
    model = new_model(1)
    before = ask(client, model.name)
    chunks = client.chat.completions.create(
        model=model.name,
        messages=[{"role": "user", "content": "Hello"}],
        stream=True,
        max_tokens=900,
        logit_bias={"2": -100},  # the end of the turn, so that it goes on
    )
    next(chunks)
    assert engine_process.process is not None
    os.killpg(engine_process.process.pid, signal.SIGKILL)
    with pytest.raises(openai.APIError):
        for _ in chunks:
            pass
    engine_process.kill()
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client, BASE_NAME)
    assert caught.value.status_code == 503
    assert not service.run(service.engine.health()).ready
    engine_process.start()
    assert service.run(service.engine.health()).ready
    deadline = time.monotonic() + 20
    while model.name not in [adapter.name for adapter in service.run(service.engine.report()).adapters]:
        assert time.monotonic() < deadline, "its adapters come back without a request"
    assert ask(client, model.name) == before
    shutil.rmtree(model.directory)
