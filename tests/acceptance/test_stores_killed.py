"""Two API processes store what clients ask, and are killed in turn: what a client has whole is there, once."""

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Condition, Event

import httpx2
import openai
import pytest

from tests.acceptance.test_usage_killed import mock_engine
from tests.api_process import ApiProcess, api_processes

MODEL = "tunesmith-demo"
CLIENTS = 6
KILLS = 4
ANSWERS_BETWEEN_KILLS = 15


@dataclass
class Seen:
    """By the clients: the ids of whole answers by what they are, and how many broke off."""

    completions: list[str] = field(default_factory=list)
    responses: list[str] = field(default_factory=list)
    broken: int = 0
    changed: Condition = field(default_factory=Condition)

    def add(self, answer_id: str | None) -> None:
        with self.changed:
            if answer_id is None:
                self.broken += 1
            else:
                (self.responses if answer_id.startswith("resp_") else self.completions).append(answer_id)
            self.changed.notify_all()

    def wait_until_whole(self, answers: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.completions) + len(self.responses) >= answers, timeout=60)


def complete(client: openai.OpenAI) -> str:
    answer = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hello"}], store=True, metadata={"of": "a test"}
    )
    return answer.id


def complete_streaming(client: openai.OpenAI) -> str:
    """Whole is what has its `[DONE]`, which the client waits for."""
    stream = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hello"}], store=True, stream=True
    )
    chunks = list(stream)
    assert chunks[-1].choices[0].finish_reason is not None
    return chunks[-1].id


def respond(client: openai.OpenAI) -> str:
    return client.responses.create(model=MODEL, input="Hello").id


def respond_streaming(client: openai.OpenAI) -> str:
    last = list(client.responses.create(model=MODEL, input="Hello", stream=True))[-1]
    assert last.type == "response.completed"
    return last.response.id


WAYS: tuple[Callable[[openai.OpenAI], str], ...] = (complete, complete_streaming, respond, respond_streaming)


def ask(apis: list[ApiProcess], seed: int, seen: Seen, stop: Event) -> None:
    draw = random.Random(seed)
    clients = [api.client(api.address[1]).with_options(max_retries=0) for api in apis]
    while not stop.is_set():
        try:
            seen.add(draw.choice(WAYS)(draw.choice(clients)))
        except (openai.APIError, httpx2.HTTPError):
            seen.add(None)
    for client in clients:
        client.close()


@pytest.mark.timeout(240)
def test_what_clients_have_whole_is_stored_once_over_kills_of_two_processes() -> None:
    seen, stop = Seen(), Event()
    with api_processes(2) as apis, mock_engine(apis[0]), ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(ask, apis, seed, seen, stop) for seed in range(CLIENTS)]
        try:
            for kill in range(1, KILLS + 1):
                seen.wait_until_whole(kill * ANSWERS_BETWEEN_KILLS)
                killed = apis[kill % 2]
                killed.kill()
                killed.start()
                killed.wait_until_it_answers()
        finally:
            stop.set()
        for task in asking:
            task.result()
        with apis[0].client(apis[0].address[1]) as client:
            listed = Counter(one.id for one in client.chat.completions.list(limit=100))
            kept = {response_id: client.responses.retrieve(response_id).status for response_id in seen.responses}

    assert seen.broken > 0
    assert seen.completions
    assert set(listed.values()) == {1}
    assert listed.keys() >= set(seen.completions)
    assert len(listed) <= len(seen.completions) + seen.broken
    assert set(kept.values()) == {"completed"}
