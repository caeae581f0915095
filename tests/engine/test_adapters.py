"""Adapters in the real engine: on demand, more than slots, damaged, deleted; and the engine that never falls for it."""

import asyncio
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from inference.engine import AdapterRef, AdapterRejected
from tests.adapter_files import refer_to
from tests.engine.conftest import BASE_NAME, MAX_LORAS, MAX_RESIDENT, EngineProcess, ask
from tests.relay_server import RelayServer

NewModel = Callable[[int], AdapterRef]


def damage_delete(directory: Path) -> None:
    shutil.rmtree(directory)


def damage_cut(directory: Path) -> None:
    weights = directory / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


def damage_noise(directory: Path) -> None:
    weights = directory / "adapter_model.safetensors"
    weights.write_bytes(b"\xff" * weights.stat().st_size)


def damage_config(directory: Path) -> None:
    (directory / "adapter_config.json").write_text("{")


DAMAGES = [damage_delete, damage_cut, damage_noise, damage_config]


def test_an_adapter_is_loaded_at_its_first_request_and_does_not_answer_as_the_base(
    client: openai.OpenAI, new_model: NewModel
) -> None:
    one, two = new_model(1), new_model(2)
    assert len({ask(client, name) for name in (one.name, two.name, BASE_NAME)}) == 3
    answer = client.chat.completions.create(model=one.name, messages=[{"role": "user", "content": "Hi"}], max_tokens=2)
    assert answer.model == one.name


def test_more_adapters_than_slots_at_once_each_answer_as_themselves(client: openai.OpenAI, new_model: NewModel) -> None:
    models = [new_model(seed) for seed in range(10)]
    alone = {model.name: ask(client, model.name) for model in models}
    assert len(set(alone.values())) == len(models)
    names = [model.name for model in models] * 4
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda name: ask(client, name), names))
    assert [alone[name] == answer for name, answer in zip(names, answers, strict=True)].count(False) == 0


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_an_adapter_damaged_before_it_is_loaded_fails_for_its_client_alone(
    client: openai.OpenAI, new_model: NewModel, damage: Callable[[Path], None]
) -> None:
    model = new_model(1)
    damage(model.directory)
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client, model.name)
    assert caught.value.code == "model_not_servable"
    assert ask(client, BASE_NAME)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_an_adapter_damaged_while_it_is_resident_never_brings_the_engine_down(
    client: openai.OpenAI, new_model: NewModel, damage: Callable[[Path], None], engine_process: EngineProcess
) -> None:
    model = new_model(1)
    before = ask(client, model.name)
    damage(model.directory)
    assert ask(client, model.name) == before, "resident: its files are not read again"
    for seed in range(2, 2 + MAX_RESIDENT + 4):
        assert ask(client, new_model(seed).name)
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client, model.name)
    assert caught.value.code == "model_not_servable"
    assert ask(client, BASE_NAME)
    assert engine_process.process is not None
    assert engine_process.process.poll() is None


def test_forgotten_adapters_never_push_a_resident_one_out_of_the_engine(
    service: RelayServer, client: openai.OpenAI, new_model: NewModel
) -> None:
    """The engine keeps what it unloaded and drops what it used longest ago; its files here are gone."""
    resident = new_model(1)
    before = ask(client, resident.name)
    shutil.rmtree(resident.directory)
    for seed in range(2, 12):
        other = new_model(seed)
        ask(client, other.name)
        service.run(service.engine.forget_adapter(other.name))
        shutil.rmtree(other.directory)
        try:
            assert ask(client, resident.name) == before
        except openai.InternalServerError as error:
            assert error.code == "model_not_servable"  # noqa: PT017 - either is right; the engine's death is not
    assert ask(client, BASE_NAME)


def test_the_base_model_answers_as_itself_beside_every_adapter(client: openai.OpenAI, new_model: NewModel) -> None:
    """In one batch with adapters in all slots, the last one included: see `inference.vllm.cpu_server`."""
    models = [new_model(seed) for seed in range(MAX_LORAS)]
    names = [BASE_NAME, *(model.name for model in models)]
    long: dict[str, Any] = {"max_tokens": 40, "logit_bias": {"2": -100}}
    alone = {name: ask(client, name, **long) for name in names}
    with ThreadPoolExecutor(12) as pool:
        asked = names * 6
        answers = list(pool.map(lambda name: ask(client, name, **long), asked))
    assert [name for name, answer in zip(asked, answers, strict=True) if answer != alone[name]] == []


def test_an_adapter_with_numbers_that_are_none_is_rejected_and_poisons_nobody(
    service: RelayServer, client: openai.OpenAI, new_model: NewModel
) -> None:
    sound, model = new_model(1), new_model(2)
    expected = [ask(client, name) for name in (BASE_NAME, sound.name)]
    weights = model.directory / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-4 * 1000 :] = b"\x00\x00\xc0\x7f" * 1000  # NaN in float32
    weights.write_bytes(data)
    with pytest.raises(AdapterRejected, match="not finite"):
        service.run(service.engine.ensure_adapter(refer_to(model.directory, model.name, BASE_NAME, rank=model.rank)))
    assert [ask(client, name) for name in (BASE_NAME, sound.name)] == expected


def test_a_deleted_model_does_not_disturb_the_answers_of_others(
    service: RelayServer, client: openai.OpenAI, new_model: NewModel
) -> None:
    kept, deleted = new_model(1), new_model(2)
    expected = ask(client, kept.name)
    ask(client, deleted.name)
    answers: list[str] = []

    def keep_asking() -> None:
        answers.extend(ask(client, kept.name) for _ in range(10))

    asking = threading.Thread(target=keep_asking)
    asking.start()
    service.models.pop(("mine", deleted.name))
    service.run(service.engine.forget_adapter(deleted.name))
    shutil.rmtree(deleted.directory)
    asking.join()
    assert answers == [expected] * 10
    with pytest.raises(openai.NotFoundError):
        ask(client, deleted.name)


def test_verifying_many_adapters_at_once_disturbs_nobody(
    service: RelayServer, client: openai.OpenAI, new_model: NewModel
) -> None:
    models = [new_model(seed) for seed in range(8)]

    async def ensure_all() -> None:
        await asyncio.gather(*(service.engine.ensure_adapter(model) for model in models))

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, client, BASE_NAME) for _ in range(8)]
        service.run(ensure_all())
    assert len({answer.result() for answer in asked}) == 1
