"""What a larger TUNESMITH_MAX_LORA_RANK costs an engine on this machine whose adapters are all of a small rank."""

import shutil
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from benchmarks.engine import running_engine
from benchmarks.load import Target, load
from inference.vllm.process import UnixConnection
from server.bootstrap import build_services
from server.settings import load_settings

_ROUNDS = 3
_SMALL, _LARGE = 16, 64  # maximum ranks
_RANK, _ADAPTERS = 8, 4  # what is served
_REQUESTS, _AT_ONCE, _TOKENS = 32, 16, 32
_DEMO = Path(__file__).resolve().parents[1] / "examples" / "demo_model"


@dataclass(frozen=True)
class _Cost:
    memory_bytes: int
    tokens_per_s: float
    cpu_s_per_token: float


def main(rounds: int = _ROUNDS) -> None:
    with tempfile.TemporaryDirectory(prefix="ts-") as directory:
        root = Path(directory)
        adapters = _make_models(root)
        costs: dict[int, list[_Cost]] = {_SMALL: [], _LARGE: []}
        for place in range(rounds):
            for rank in (_SMALL, _LARGE)[:: 1 if place % 2 else -1]:
                costs[rank].append(_measure(root, adapters, rank))
        _show(costs)


def _show(costs: dict[int, list[_Cost]]) -> None:
    for what, digits in (("memory_bytes", 0), ("tokens_per_s", 1), ("cpu_s_per_token", 5)):
        small, large = (statistics.median(getattr(cost, what) for cost in costs[rank]) for rank in (_SMALL, _LARGE))
        print(
            f"ranks, {what} of an engine with {_ADAPTERS} adapters of rank {_RANK}, maximum {_LARGE} / {_SMALL}: "
            f"{large / small:.3f}x ({large:.{digits}f} / {small:.{digits}f})"
        )


def _measure(root: Path, adapters: list[Path], rank: int) -> _Cost:
    home = root / "home"
    settings = load_settings(
        {
            "TUNESMITH_HOME": str(home),
            "TUNESMITH_BASE_MODELS_FILE": str(root / "base_models.toml"),
            "TUNESMITH_MAX_LORA_RANK": str(rank),
        }
    )
    with running_engine(build_services(settings)) as engine:
        names = [_load(engine.socket, adapter) for adapter in adapters]
        requests = [
            Target(0, names[i % len(names)], "").request(stream=False, max_tokens=_TOKENS, ignore_eos=True, seed=i)
            for i in range(_REQUESTS)
        ]
        load(engine.socket, requests[: 2 * len(names)], _AT_ONCE)  # so that the prompt is in the cache of every adapter
        before = engine.cpu_s()
        seen = load(engine.socket, requests, _AT_ONCE)
        n_tokens = _REQUESTS * _TOKENS
        return _Cost(engine.memory_bytes(), n_tokens / seen.taken_s, (engine.cpu_s() - before) / n_tokens)


def _load(socket: Path, adapter: Path) -> str:
    connection = UnixConnection(socket, 60.0)
    try:
        body = orjson.dumps({"lora_name": adapter.name, "lora_path": str(adapter)})
        connection.request("POST", "/v1/load_lora_adapter", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError("the engine refused an adapter")
    finally:
        connection.close()
    return adapter.name


def _make_models(root: Path) -> list[Path]:
    """A base of 20 million random weights, with the demo model's tokenizer, and adapters of all its layers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, Qwen3Config

    sizes: dict[str, Any] = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 6, "head_dim": 64}
    config = Qwen3Config(
        **sizes, vocab_size=2048, num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=1024
    )
    base, adapters = root / "base", []
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(base)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(_DEMO / name, base / name)
    lora = LoraConfig(r=_RANK, lora_alpha=16, target_modules="all-linear", init_lora_weights=False)
    for number in range(_ADAPTERS):
        adapters.append(root / f"adapter-{number}")
        get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora).save_pretrained(adapters[-1])
    (root / "base_models.toml").write_text('[[base_model]]\nname = "wide"\nsource = "base"\ncontext_length = 1024\n')
    return adapters
