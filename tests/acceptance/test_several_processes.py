"""Several API processes on one home: what one does the others know, and any of them may be killed."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference.engine import AdapterRef
from server.auth.api_keys import create_key, revoke_key
from server.bootstrap import Services, build_services
from server.db.system_session import system_session
from server.models.names import new_model_name
from server.models.repository import add_fine_tuned_model
from server.vocabulary import JobStatus
from tests.adapter_files import refer_to, write_adapter
from tests.api_process import ApiProcess, api_processes
from tests.factories import make_job
from tests.fake_vllm import FakeVllm
from tests.inference.test_adapter_files import make_base
from tests.running_api import make_settings
from tests.service import KEY

BASE = "tunesmith-demo"
LINE = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
PATIENCE_S = 30.0


@dataclass
class Engine:
    """A `FakeVllm` in a thread of its own."""

    vllm: FakeVllm
    loop: asyncio.AbstractEventLoop

    def do(self, action: Callable[[], Any]) -> None:
        done = threading.Event()
        self.loop.call_soon_threadsafe(lambda: (action(), done.set()))
        done.wait(PATIENCE_S)

    def hold(self) -> None:
        self.do(lambda: setattr(self.vllm, "hold", asyncio.Event()))

    def let_go(self) -> None:
        self.do(lambda: self.vllm.hold and self.vllm.hold.set())


@dataclass
class Rig:
    """Two processes, and what is behind them."""

    first: ApiProcess
    second: ApiProcess
    services: Services
    engine: Engine

    def http(self, api: ApiProcess, key: str = KEY) -> httpx.Client:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{api.address[1]}/v1", headers=headers, timeout=PATIENCE_S)

    def add_model(self) -> AdapterRef:
        authorization = [(b"authorization", f"Bearer {KEY}".encode())]
        project_id = self.services.authenticator.authenticate(authorization).project_id
        job = make_job(self.services, project_id, status=JobStatus.SUCCEEDED)
        directory = write_adapter(self.services.settings.adapters / job.id)
        adapter = refer_to(directory, str(new_model_name(BASE, "personal", None, None)), BASE)
        with system_session(self.services.database, write=True) as session:
            add_fine_tuned_model(session, job, adapter, now=time.time(), step=None)
        return adapter

    def ask(self, api: ApiProcess, model: str) -> httpx.Response:
        with self.http(api) as http:
            return http.post("/chat/completions", json=question(model))


def question(model: str, *, stream: bool = False) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": stream}


@contextmanager
def running_engine(socket: Path) -> Iterator[Engine]:
    socket.parent.mkdir(mode=0o700, exist_ok=True)
    loop = asyncio.new_event_loop()
    vllm = FakeVllm(socket, base_model=BASE)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(vllm.start(), loop).result(PATIENCE_S)
    yield Engine(vllm, loop)
    asyncio.run_coroutine_threadsafe(vllm.stop(), loop).result(PATIENCE_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE_S)
    loop.close()


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    root = tmp_path_factory.mktemp("bases")
    make_base(root / "base")
    base_models = root / "base_models.toml"
    base_models.write_text(f'[[base_model]]\nname = "{BASE}"\nsource = "./base"\ncontext_length = 1024\n')
    with api_processes(2, TUNESMITH_BASE_MODELS_FILE=str(base_models)) as (first, second):
        services = build_services(make_settings(first.home, base_models_file=base_models, api_key=KEY))
        with running_engine(services.settings.engine_socket(0)) as engine:
            yield Rig(first, second, services, engine)
        services.database.dispose()


def wait_until_ready(rig: Rig, api: ApiProcess) -> None:
    with rig.http(api) as http:
        url = f"http://127.0.0.1:{api.address[1]}/ready"
        wait_for(lambda: http.get(url).status_code == 200)


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_idempotency_key_that_is_raced_over_both_makes_one_job(rig: Rig) -> None:
    with rig.http(rig.first) as first, rig.http(rig.second) as second, ThreadPoolExecutor(8) as pool:
        file = first.post("/files", files={"file": ("a.jsonl", LINE * 20)}, data={"purpose": "fine-tune"}).json()
        for number in range(10):
            headers = {"idempotency-key": f"key-{number}"}
            body = {"model": BASE, "training_file": file["id"], "seed": number}

            def create(http: httpx.Client, headers: Any = headers, body: Any = body) -> httpx.Response:
                return http.post("/fine_tuning/jobs", json=body, headers=headers)

            answers = list(pool.map(create, [first, second] * 4))
            assert {answer.status_code for answer in answers} <= {200, 409}
            assert len({answer.json()["id"] for answer in answers if answer.status_code == 200}) == 1
        jobs = second.get("/fine_tuning/jobs", params={"limit": 100}).json()["data"]
        assert len([job for job in jobs if job["training_file"] == file["id"]]) == 10


def test_a_key_that_is_revoked_is_refused_by_both(rig: Rig) -> None:
    key = create_key(rig.services.database, "mine")
    for api in (rig.first, rig.second):
        with rig.http(api, key.plaintext) as http:
            assert http.get("/models").status_code == 200
            assert http.post("/chat/completions", json=question(BASE)).status_code == 200
    revoke_key(rig.services.database, key.id)
    for api in (rig.first, rig.second):
        with rig.http(api, key.plaintext) as http:
            assert http.get("/models").status_code == 401
            assert http.post("/chat/completions", json=question(BASE)).status_code == 401


def test_a_file_that_one_took_the_other_gives(rig: Rig) -> None:
    with rig.http(rig.first) as first, rig.http(rig.second) as second:
        for to, of in ((first, second), (second, first)):
            file = to.post("/files", files={"file": ("a.jsonl", LINE)}, data={"purpose": "fine-tune"}).json()
            assert of.get(f"/files/{file['id']}/content").content == LINE
            of.delete(f"/files/{file['id']}")
            assert to.get(f"/files/{file['id']}").status_code == 404


def test_both_answer_with_an_adapter_that_is_loaded_once_and_either_can_delete_it(rig: Rig) -> None:
    wait_until_ready(rig, rig.second)
    for deleting in (rig.first, rig.second):
        adapter = rig.add_model()
        for api in (rig.second, rig.first, rig.second):
            assert rig.ask(api, adapter.name).json()["model"] == adapter.name
        assert rig.engine.vllm.loads.count(adapter.name) == 1
        with rig.http(deleting) as http:
            assert http.delete(f"/models/{adapter.name}").status_code == 200
        assert adapter.name not in rig.engine.vllm.loaded
        assert not adapter.directory.exists()
        for api in (rig.first, rig.second):
            assert rig.ask(api, adapter.name).status_code == 404


def test_when_the_first_is_killed_the_others_answers_end_in_an_error_and_it_goes_on_with_the_next(rig: Rig) -> None:
    wait_until_ready(rig, rig.second)
    adapter = rig.add_model()
    rig.engine.hold()
    with (
        rig.http(rig.second) as http,
        http.stream("POST", "/chat/completions", json=question(adapter.name, stream=True)) as r,
    ):
        lines = r.iter_lines()
        next(lines)
        rig.first.kill()
        rest = [line for line in lines if line]
    assert json.loads(rest[-1].removeprefix("data: "))["error"]["type"] == "server_error"
    rig.engine.let_go()
    assert rig.ask(rig.second, BASE).status_code == 200
    assert rig.ask(rig.second, adapter.name).status_code == 503
    rig.first.start()
    rig.first.wait_until_it_answers()
    wait_until_ready(rig, rig.second)
    assert rig.ask(rig.second, adapter.name).json()["model"] == adapter.name
    assert list(rig.engine.vllm.loaded) == [adapter.name]


def test_what_a_killed_process_held_is_free(rig: Rig) -> None:
    wait_until_ready(rig, rig.second)
    adapter = rig.add_model()
    rig.engine.hold()
    with (
        rig.http(rig.second) as http,
        http.stream("POST", "/chat/completions", json=question(adapter.name, stream=True)) as r,
    ):
        next(r.iter_lines())
        rig.second.kill()
    rig.engine.let_go()
    began = time.monotonic()
    with rig.http(rig.first) as http:
        assert http.delete(f"/models/{adapter.name}").status_code == 200
    assert time.monotonic() - began < 5.0  # an answer that still held it would be waited for longer
    assert not adapter.directory.exists()
    rig.second.start()
    rig.second.wait_until_it_answers()
