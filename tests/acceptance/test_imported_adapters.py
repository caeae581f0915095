"""Adapters that PEFT made without us: imported by command and by API, they answer as PEFT says they do."""

import io
import json
import tarfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from server.settings import Settings
from tests.acceptance.conftest import running_service
from tests.acceptance.jobs import BASE, create_job, small_file, wait_until_ended
from tests.service import KEY, Service

DIRECTORY = Path(__file__).parents[2] / "examples/demo_model"
QUESTION = [{"role": "user", "content": "Hello! Who are you?"}]
LONG: Any = [{"role": "user", "content": "Tell me a long story."}]
# What PEFT's users set and our own trainer never does.
PATTERNED = LoraConfig(
    r=8,
    lora_alpha=8,
    use_rslora=True,
    target_modules=["q_proj", "v_proj", "down_proj"],
    rank_pattern={"layers.1.self_attn.q_proj": 2, "down_proj": 4},
    alpha_pattern={"v_proj": 16},
    task_type="CAUSAL_LM",
)
PLAIN = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")


def make_adapter(config: LoraConfig, directory: Path, *, strength: float) -> Path:
    torch.manual_seed(5)
    model = get_peft_model(load_base(), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=strength)
    model.save_pretrained(directory)
    return directory


def load_base() -> Any:
    return AutoModelForCausalLM.from_pretrained(DIRECTORY, dtype=torch.float32)


def test_an_adapter_imported_by_command_says_what_it_says_in_peft(
    service: Service, client: openai.OpenAI, tmp_path: Path
) -> None:
    adapter = make_adapter(PATTERNED, tmp_path / "adapter", strength=0.1)

    name = service.tunesmith("models", "import", str(adapter), "--base", BASE, "--suffix", "By Hand").strip()

    assert name.split(":")[:4] == ["ft", BASE, "personal", "by-hand"]
    assert name in [model.id for model in client.models.list()]
    tokens = AutoTokenizer.from_pretrained(DIRECTORY).apply_chat_template(
        [*QUESTION, {"role": "assistant", "content": answer(client, name)}], return_dict=True
    )["input_ids"]
    of_peft = score(PeftModel.from_pretrained(load_base(), adapter).eval(), tokens)
    gap = mean_gap(score_in_engine(service, name, tokens), of_peft)
    of_base = mean_gap(of_peft, score(load_base().eval(), tokens))
    print(f"{len(tokens)} tokens: {gap:.5f} nats a token from PEFT, {of_base:.3f} between PEFT and the base")  # noqa: T201
    assert gap <= 0.001
    assert of_base >= 0.1


def test_an_adapter_imported_by_api_is_a_model_like_any_other(
    service: Service, client: openai.OpenAI, stranger: openai.OpenAI, tmp_path: Path
) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(make_adapter(PLAIN, tmp_path / "adapter", strength=0.3), arcname="mine")

    name = wait_for_import(service, archive.getvalue())

    assert answer(client, name) != answer(client, BASE)
    with pytest.raises(openai.NotFoundError):
        answer(stranger, name)
    with http(service) as browser:
        taken_away = browser.get(f"/tunesmith/models/{name}/archive").raise_for_status().content
    with tarfile.open(fileobj=io.BytesIO(taken_away)) as tar:
        (manifest,) = (tar.extractfile(member) for member in tar if member.name.endswith("/manifest.json"))
        assert manifest is not None
        assert json.load(manifest)["origin"] == "imported"
    assert client.models.delete(name).deleted
    with pytest.raises(openai.NotFoundError):
        answer(client, name)


def answer(client: openai.OpenAI, model: str) -> str:
    chat: Any = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=24, temperature=0)  # type: ignore[call-overload]
    return chat.choices[0].message.content or ""


def wait_for_import(service: Service, archive: bytes) -> str:
    with http(service) as browser:
        form = {"base_model": BASE}
        created = browser.post("/tunesmith/model_imports", data=form, files={"file": ("a.tar", archive)})
        found = created.raise_for_status().json()
        while found["status"] == "in_progress":
            time.sleep(0.2)
            found = browser.get(f"/tunesmith/model_imports/{found['id']}").raise_for_status().json()
    assert found["error"] is None
    return str(found["fine_tuned_model"])


def http(service: Service) -> httpx.Client:
    return httpx.Client(base_url=service.base_url, headers={"authorization": f"Bearer {KEY}"}, timeout=60)


def score_in_engine(service: Service, model: str, tokens: list[int]) -> list[float]:
    socket = Settings(home=service.home).engine_socket(0)
    body = {"model": model, "prompt": tokens, "max_tokens": 1, "prompt_logprobs": 0}
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://engine", timeout=60) as engine:
        scored = engine.post("/v1/completions", json=body).raise_for_status().json()["choices"][0]["prompt_logprobs"]
    return [scored[i][str(tokens[i])]["logprob"] for i in range(1, len(tokens))]


@torch.no_grad()
def score(model: Any, tokens: list[int]) -> list[float]:
    logits = model(input_ids=torch.tensor([tokens])).logits[0, :-1].float()
    chosen = torch.tensor(tokens[1:]).unsqueeze(-1)
    return [float(value) for value in torch.log_softmax(logits, dim=-1).gather(-1, chosen).squeeze(-1)]


def mean_gap(one: list[float], other: list[float]) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


@pytest.mark.torture
def test_an_import_outlives_a_kill_of_everything_and_leaves_nothing_beside_its_model(tmp_path: Path) -> None:
    """All of it while the trainer looks at the adapter, then the worker while another trainer does."""
    adapter = make_adapter(PLAIN, tmp_path / "adapter", strength=0.3)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(adapter, arcname="mine")
    with running_service() as service:
        with http(service) as browser:
            files = {"file": ("a.tar", archive.getvalue())}
            created = browser.post("/tunesmith/model_imports", data={"base_model": BASE}, files=files)
        import_id = created.raise_for_status().json()["id"]
        service.wait_for(lambda: service.processes("trainer"), "the trainer to look at it")
        service.kill_tree()
        service.start_without_waiting("--port", service.base_url.split(":")[2].split("/")[0])
        service.wait_for(lambda: service.processes("trainer"), "another trainer")
        service.kill("worker")
        service.wait_until_ready()
        found: dict[str, Any] = {"status": "in_progress"}
        while found["status"] == "in_progress":
            time.sleep(0.2)
            with http(service) as browser:
                found = browser.get(f"/tunesmith/model_imports/{import_id}").raise_for_status().json()
        assert found["error"] is None
        with service.client() as client:
            assert answer(client, found["fine_tuned_model"])
        settings = Settings(home=service.home)
        assert [path.name for path in settings.adapters.iterdir()] == [found["fine_tuned_model"].split(":")[4]]
        service.wait_for(lambda: not list(settings.model_imports.iterdir()), "its directory to be gone")


def test_an_imported_model_is_shared_aliased_taken_in_again_trained_on_and_deleted_while_it_answers(
    service: Service, client: openai.OpenAI, stranger: openai.OpenAI, tmp_path: Path
) -> None:
    name = wait_for_import(service, archive_of(make_adapter(PLAIN, tmp_path / "adapter", strength=0.3)))
    said = answer(client, name)
    with http(service) as browser:
        put_alias(service, "my-old-name", name)
        taken_away = browser.get(f"/tunesmith/models/{name}/archive").raise_for_status().content
    assert answer(client, "my-old-name") == said
    let_the_stranger_use(client, service, name)
    assert answer(stranger, name) == said

    again = wait_for_import(service, taken_away)
    assert (again != name, answer(client, again)) == (True, said)

    job = create_job(client, small_file(12), model=name, n_epochs=1, batch_size=4, suffix="further")
    job = wait_until_ended(service, client, job)
    assert (job.status, job.error and job.error.message) == ("succeeded", None)
    assert answer(client, str(job.fine_tuned_model))

    stream = client.chat.completions.create(model=name, messages=LONG, max_tokens=400, stream=True)
    next(iter(stream))
    assert client.models.delete(name).deleted
    with suppress(openai.APIError):  # it ends whole within its time, or is cut, which it says
        for _ in stream:
            pass
    for caller, gone in ((client, name), (client, "my-old-name"), (stranger, name)):
        with pytest.raises(openai.NotFoundError):
            answer(caller, gone)
    assert answer(client, again) == said, "its files are its own"


def archive_of(adapter: Path) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(adapter, arcname="mine")
    return archive.getvalue()


def put_alias(service: Service, alias: str, target: str) -> None:
    """As the administrator, for the default project."""
    headers = {"authorization": f"Bearer {service.tunesmith('keys', 'create', '--admin').split()[-1]}"}
    with httpx.Client(base_url=service.base_url, headers=headers, timeout=60) as administrator:
        administrator.put(f"/tunesmith/model_aliases/{alias}", json={"target": target}).raise_for_status()


def let_the_stranger_use(client: openai.OpenAI, service: Service, name: str) -> None:
    lines = service.tunesmith("projects", "list").splitlines()
    (project_id,) = (word for line in lines if "theirs" in line for word in line.split() if word.startswith("proj"))
    client.fine_tuning.checkpoints.permissions.create(name, project_ids=[project_id])
