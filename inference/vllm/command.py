"""Settings → the argument list and environment of one vLLM process. vLLM is run, never imported."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MAX_TOP_LOGPROBS = 20  # OpenAI's
MAX_CHOICES = 128  # OpenAI's `n`; the engine's own cap is 16384
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what --max-lora-rank takes

# Secrets and switches of the surroundings that must not reach the engine: an inherited VLLM_API_KEY would lock us
# out, python -O would drop asserts the engine's safety rests on (CVE-2026-41523).
_DROPPED = ("OPENAI_", "TUNESMITH_", "PYTHONOPTIMIZE", "VLLM_API_KEY", "VLLM_SERVER_DEV_MODE")
_KEPT = ("TUNESMITH_LIFELINE_FD",)


_SERVER = {"cuda": "inference.vllm.gpu_server", "cpu": "inference.vllm.cpu_server"}
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class EngineSettings:
    """What one engine process is to be."""

    model: str  # a local directory, or a Hugging Face repository id
    revision: str | None  # of the repository
    served_name: str  # the base model's own name, or a full model's
    context_length: int  # tokens
    socket: Path  # where it listens; at most 107 bytes long
    cache_directory: Path  # the engine loads its caches as code: private to us
    device: Literal["cpu", "cuda"]
    max_loras: int  # distinct adapters in one batch; 0: it is a full model's, and serves no adapters
    max_resident_adapters: int  # adapters we ever hold there at once
    max_lora_rank: int
    gpu_memory_share: float  # of the GPU's memory, in (0, 1)
    kv_cache_gib: int  # on a CPU
    cpu_threads: int  # on a CPU; for the arithmetic
    cpu_dtype: Literal["float32", "bfloat16"]  # on a CPU
    tool_call_parser: str | None = None  # vLLM's name of it
    chat_template: Path | None = None  # instead of the base's own
    gpu: int | None = None  # its index; None: the first
    embeds: bool = False  # it gives embeddings, and no text
    quantization: Literal["nf4"] | None = None  # what it makes of the weights while it loads them


@dataclass(frozen=True)
class EngineCommand:
    """How to start it."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    socket: Path


def build_command(settings: EngineSettings, *, python: str, inherited: Mapping[str, str]) -> EngineCommand:
    """Build the command of one engine.

    `python` is the interpreter of the environment that has vLLM, `inherited` our own environment.
    """
    argv = (
        *(python, "-m", _SERVER[settings.device]),
        *_model_arguments(settings),
        *_adapter_arguments(settings),
        *_device_arguments(settings),
        *_privacy_arguments(settings),
    )
    kept = {name: value for name, value in inherited.items() if name in _KEPT or not name.startswith(_DROPPED)}
    return EngineCommand(argv, {**kept, **_environment(settings)}, settings.socket)


def engine_cpu_adapters(max_resident_adapters: int, max_loras: int) -> int:
    """Say how many adapters the engine is told to keep: more than we ever hold there.

    It drops its least recently used one by its own clock, and reads a dropped one again from files that may be gone.
    Its clock runs behind ours by at most the requests that wait for a batch;
    `max_loras` more covers them.
    """
    return max_resident_adapters + max_loras


def _model_arguments(settings: EngineSettings) -> list[str]:
    arguments = ["--model", settings.model, "--served-model-name", settings.served_name]
    arguments += ["--max-model-len", str(settings.context_length)]
    # Left the choice, vLLM takes Mistral's own files where a model has both, and renders chats by other rules than
    # the chat template that was trained with.
    arguments += ["--tokenizer-mode", "hf", "--config-format", "hf"]
    # OpenAI's defaults (temperature 1), not those a base's generation_config.json may hold.
    arguments += ["--generation-config", "vllm", "--max-logprobs", str(MAX_TOP_LOGPROBS)]
    if settings.quantization is not None:
        # NF4 with double quantisation, of every linear layer but the output head: as the trainer has it.
        arguments += ["--quantization", "bitsandbytes"]
    # A small model, left the choice, writes white space between the words of an object until it runs out of tokens.
    arguments += ["--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}']
    if settings.embeds:
        arguments += ["--runner", "pooling"]
    # By arrival among equals; what nobody waits for is sent with a number behind theirs.
    arguments += ["--scheduling-policy", "priority"]
    if settings.revision is not None:
        arguments += ["--revision", settings.revision, "--tokenizer-revision", settings.revision]
    if settings.chat_template is not None:
        arguments += ["--chat-template", str(settings.chat_template)]
    if settings.tool_call_parser is not None:
        arguments += ["--enable-auto-tool-choice", "--tool-call-parser", settings.tool_call_parser]
    return arguments


def _adapter_arguments(settings: EngineSettings) -> list[str]:
    if settings.embeds or not settings.max_loras:
        return []
    kept = engine_cpu_adapters(settings.max_resident_adapters, settings.max_loras)
    return [
        "--enable-lora",
        *("--max-loras", str(settings.max_loras)),
        *("--max-lora-rank", str(settings.max_lora_rank)),
        *("--max-cpu-loras", str(kept)),
    ]


def _device_arguments(settings: EngineSettings) -> list[str]:
    if settings.device == "cuda":
        return ["--dtype", "auto", "--gpu-memory-utilization", str(settings.gpu_memory_share)]
    # One process computes and schedules ("uni"): half a gigabyte and ten seconds less than the default two.
    return ["--dtype", settings.cpu_dtype, "--enforce-eager", "--distributed-executor-backend", "uni"]


def _privacy_arguments(settings: EngineSettings) -> list[str]:
    return [
        *("--uds", str(settings.socket)),
        *("--prefix-caching-hash-algo", "sha256"),
        "--enable-prompt-tokens-details",
        "--no-enable-log-requests",
        "--no-log-error-stack",
        "--disable-log-stats",
        "--disable-uvicorn-access-log",
        "--disable-fastapi-docs",
        *("--uvicorn-log-level", "warning"),
    ]


def _environment(settings: EngineSettings) -> dict[str, str]:
    environment = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_MAX_N_SEQUENCES": str(MAX_CHOICES),
        "VLLM_CACHE_ROOT": str(settings.cache_directory),
        "VLLM_CONFIG_ROOT": str(settings.cache_directory / "config"),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": str(_ROOT),  # of our own modules
    }
    if Path(settings.model).is_absolute():
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if settings.gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = str(settings.gpu)
    if settings.device == "cpu":
        environment |= _cpu_environment(settings)
    return environment


def _cpu_environment(settings: EngineSettings) -> dict[str, str]:
    return {
        "VLLM_CPU_KVCACHE_SPACE": str(settings.kv_cache_gib),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # or the CPU build would not take "uni"
        "TORCHDYNAMO_DISABLE": "1",  # without it the first `logprobs` compiles C++, and dies where no compiler is
        "OMP_NUM_THREADS": str(settings.cpu_threads),
    }
