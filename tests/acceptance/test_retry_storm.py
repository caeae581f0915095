"""Eight clients whose requests and answers get lost: each thing they asked for is there once, and they know its id."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import openai

from tests.api_process import START_TIMEOUT_S, ApiProcess, api_process
from tests.losing_proxy import FATES, LosingProxy

INTENTS = 60
THREADS = 8
KILLS = 3
SEED = 20260106


def storm(api: ApiProcess, meanwhile: Callable[[LosingProxy], None]) -> None:
    """Ask for files and jobs through the proxy, then look at what there is."""
    with api.client(api.address[1]) as direct:
        training_file = direct.files.create(file=b"{}", purpose="fine-tune").id
        proxy = LosingProxy(api.address, seed=SEED)
        with proxy.serving(), api.client(proxy.port) as client, ThreadPoolExecutor(THREADS) as threads:
            pending = [threads.submit(ask, client, intent, training_file) for intent in range(INTENTS)]
            meanwhile(proxy)
            acknowledged = dict(future.result() for future in pending)
            proxy.wait_for_the_late()

        assert set(proxy.fates) == set(FATES)
        there = [(job.metadata or {})["intent"] for job in direct.fine_tuning.jobs.list(limit=100)]
        there += [file.filename for file in direct.files.list() if file.id != training_file]
        assert sorted(there) == sorted(map(str, range(INTENTS)))
        ids = {(job.metadata or {})["intent"]: job.id for job in direct.fine_tuning.jobs.list(limit=100)}
        ids |= {file.filename: file.id for file in direct.files.list() if file.id != training_file}
        assert acknowledged == ids
        for intent in range(0, INTENTS, 2):
            assert direct.files.content(ids[str(intent)]).read() == content(intent)


def ask(client: openai.OpenAI, intent: int, training_file: str) -> tuple[str, str]:
    """Every other intent is a file, every other a job; half have a key of their own. The name, and the id it got."""
    name = str(intent)
    headers = {"Idempotency-Key": name} if intent % 4 < 2 else {}
    if intent % 2 == 0:
        file = client.files.create(file=(name, content(intent)), purpose="fine-tune", extra_headers=headers)
        return name, file.id
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini", training_file=training_file, metadata={"intent": name}, extra_headers=headers
    )
    return name, job.id


def wait_for_requests(proxy: LosingProxy, count: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while len(proxy.fates) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def content(intent: int) -> bytes:
    return b"%d " % intent * 1000


def test_each_intent_is_done_once_whatever_is_lost() -> None:
    with api_process() as api:
        storm(api, meanwhile=lambda _: None)
        blobs = [path for path in (api.home / "files").iterdir() if path.is_file()]
        assert len(blobs) == INTENTS // 2 + 1  # nothing is kept of what was sent twice


def test_each_intent_is_done_once_although_the_api_is_killed_meanwhile() -> None:
    with api_process() as api:

        def kill_and_start(proxy: LosingProxy) -> None:
            for kill in range(1, KILLS + 1):
                wait_for_requests(proxy, 25 * kill)
                api.kill()
                api.start()
                api.wait_until_it_answers()

        storm(api, kill_and_start)
