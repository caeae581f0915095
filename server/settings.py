"""Every setting: its environment variable, unit and default, in one frozen class."""

import hashlib
import math
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

_REPOSITORY = Path(__file__).resolve().parent.parent


class SettingsInvalid(Exception):
    """A setting cannot be used; the message names its environment variable."""


@dataclass(frozen=True)
class Settings:
    """Read from `TUNESMITH_<NAME>`; docs/operations.md explains each."""

    home: Path = field(default_factory=lambda: Path.home() / ".tunesmith")  # everything that must survive
    host: str = "127.0.0.1"
    port: int = 8000
    api_processes: int = 1  # that answer on the port
    base_models_file: Path = _REPOSITORY / "base_models.toml"
    api_key: str | None = None  # valid verbatim while set; project "default"
    admin_key: str | None = None  # likewise, with administration rights
    organization: str = "personal"  # third segment of `ft:` names of the default project
    max_running_jobs: int = 1
    trainer_threads: int = 1  # CPU threads of a trainer; a run is reproducible for one number of them
    trainer_memory_gib: float | None = None  # for all trainers together; None: what the engines leave
    allow_4bit: bool = False  # whether a base may be trained on in 4 bits where it does not fit in 16
    price_per_million_tokens: float | None = None  # of trained tokens, as estimates show it
    currency: str = "USD"  # of that price
    hosted_prices_file: Path = _REPOSITORY / "hosted_prices.toml"
    max_crashes: int = 3  # a job whose trainer dies this often has failed
    pii_policy: Literal["off", "warn", "block", "redact"] = "warn"  # of jobs that name none: off, warn, block or redact
    stop_grace_s: float = 5.0  # from asking a trainer to stop to killing it
    max_file_bytes: int = 512 * 1024**2  # in one request
    max_upload_bytes: int = 8 * 1024**3  # in parts
    max_adapter_bytes: int = 2 * 1024**3  # of an adapter to import, as an archive and unpacked
    max_chat_body_bytes: int = 16 * 1024**2
    requests_per_minute: int | None = None  # of a project to a base model; None: as many as it likes
    tokens_per_minute: int | None = None  # likewise, of the prompt and of the answer
    max_concurrent_answers: int = 512  # of a project, those that wait included
    engine_answers: int | None = None  # that an engine works on at once; None: by device. Best twice what saturates it
    engine_answers_beside_light: int | None = None  # of heavy projects while a light one is there; None: by device
    batch_requests: int | None = None  # of batches, that are sent at once; None: by device
    batch_answers_beside_live: int | None = None  # of batches while clients ask; None: by device
    max_queue_wait_s: float = 60.0  # for a place at an engine; then 503
    stalled_client_s: float = 60.0  # a client that takes nothing of its answer for so long loses it
    response_retention_days: int = 30  # of stored responses; 0: none is stored, whatever a request says
    response_mib: int = 1024  # that a project's may take, beyond which its oldest go; 0: as many as it likes
    token_cache_gib: float = 10.0  # on disk, of what files tokenise to; the least recently used goes
    max_loras: int = 4  # distinct adapters in one batch of the engine
    max_resident_adapters: int = 16  # adapters an engine holds; more are loaded on demand
    max_lora_rank: int = 64  # largest rank the engine serves
    max_adapter_error: float = 0.1  # of a published adapter's logits, as a share of what the adapter changes
    gpu_policy: Literal["share", "yield", "separate"] = (
        "share"  # how engines and trainers share: share, yield, separate
    )
    engine_gpus: tuple[int, ...] = (0,)  # indices; of engines, where they are separate
    trainer_gpus: tuple[int, ...] = (1,)  # indices; of trainers, where they are separate
    engine_memory_gib: float | None = None  # for all engines together; None: by the machine and the policy
    engine_idle_s: float = 0.0  # an engine that nobody asks for so long is stopped; 0: never
    engine_wait_s: float = 30.0  # how long a request waits for an engine that is away
    engine_gpu_share: float = 0.45  # of the GPU's memory; the rest is the trainer's
    engine_kv_cache_gib: int = 1  # of main memory, on a CPU
    engine_start_timeout_s: float = 600.0
    wandb_mode: str = "online"  # "offline": jobs that ask for it are logged to files
    wandb_base_url: str = "https://api.wandb.ai"  # of Weights & Biases
    webhook_allow_private: bool = False  # whether webhooks go to private addresses, local names and any port
    webhook_allow_http: bool = False  # whether they go to http:// too
    webhook_max_endpoints: int = 10  # of a project; 0: no project makes one
    webhook_timeout_s: float = 10.0  # of a receiver, from the look-up of its name to its status
    stored_completion_days: int = 30  # that a project's stored chat completions are kept; 0: until they are deleted
    stored_completion_mib: int = 1024  # that a project's may take, beyond which its oldest go; 0: as many as it likes
    log_level: str = "info"

    def environment(self) -> dict[str, str]:
        """The variables that give a child process these settings."""
        values = {"TUNESMITH_" + item.name.upper(): getattr(self, item.name) for item in fields(self)}
        return {variable: _spell(value) for variable, value in values.items() if value is not None}

    @property
    def database(self) -> Path:
        return self.home / "tunesmith.db"

    @property
    def salt_key(self) -> Path:
        """What the salts of the projects' prefix caches are made of; secret."""
        return self.home / "salt.key"

    @property
    def blobs(self) -> Path:
        return self.home / "files"

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    @property
    def tokenized(self) -> Path:
        """What the files tokenise to, by file: a cache, which can be deleted at any time."""
        return self.home / "tokenized"

    @property
    def adapters(self) -> Path:
        return self.home / "adapters"

    @property
    def estimates(self) -> Path:
        """Where files are tokenised for estimates; nothing in it outlives its request."""
        return self.home / "estimates"

    @property
    def exports(self) -> Path:
        """Where training files are made of stored completions; nothing in it outlives its request."""
        return self.home / "exports"

    @property
    def locks(self) -> Path:
        """What the API processes lock by name; an empty file."""
        return self.home / "api.lock"

    @property
    def imports(self) -> Path:
        """What an import keeps, by project: what has no place among files and jobs."""
        return self.home / "imports"

    @property
    def model_imports(self) -> Path:
        """The adapters that are being imported, by import; nothing in it outlives its import."""
        return self.home / "model_imports"

    @property
    def wandb(self) -> Path:
        """What is logged at Weights & Biases, by job."""
        return self.home / "wandb"

    @property
    def batches(self) -> Path:
        """The input and the results of batches that have not ended, by batch."""
        return self.home / "batches"

    @property
    def hashes(self) -> Path:
        """What base models' files were hashed to; only saves time."""
        return self.home / "cache" / "hashes.json"

    @property
    def usage(self) -> Path:
        """The journals of usage of the processes that answer."""
        return self.home / "usage"

    @property
    def rate_limits(self) -> Path:
        """The buckets of the rate limits, which the processes that answer share."""
        return self.sockets / "rate_limits"

    @property
    def metrics(self) -> Path:
        """What the processes that answer have counted since the service was started."""
        return self.sockets / "metrics"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def sockets(self) -> Path:
        """Where the unix sockets live: in the home, or, as Linux allows 107 bytes, in a short private directory."""
        preferred = self.home.resolve() / "run"
        if len(os.fsencode(preferred)) <= 80:
            return preferred
        digest = hashlib.sha256(os.fsencode(self.home.resolve())).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"tunesmith-{os.getuid()}-{digest}"

    @property
    def control_socket(self) -> Path:
        """Where the first API process takes the worker's requests about adapters."""
        return self.sockets / "control.sock"

    @property
    def lending_socket(self) -> Path:
        """Where the first API process lends resident adapters to the others."""
        return self.sockets / "lending.sock"

    def engine_socket(self, place: int | str) -> Path:
        """Where the engine of the base model at that place of the settings listens, or of the full model of that id."""
        return self.sockets / f"engine-{place}.sock"


def load_settings(environment: Mapping[str, str], **overrides: object) -> Settings:
    """Read the settings; `overrides` (from the command line) win, None means not given.

    Raises:
        SettingsInvalid: a value does not parse or is out of range.
    """
    values: dict[str, object] = {}
    for item in fields(Settings):
        variable = "TUNESMITH_" + item.name.upper()
        raw = environment.get(variable)
        if raw is not None and raw != "":
            values[item.name] = _parse(variable, item.type, raw)
    values.update({name: value for name, value in overrides.items() if value is not None})
    settings = Settings(**values)  # type: ignore[arg-type]  # each parsed by its field's type above
    _check(settings)
    return settings


def _parse(variable: str, kind: object, raw: str) -> object:
    parsers: dict[object, Callable[[str], object]] = {
        int: int,
        int | None: int,
        float: float,
        float | None: float,
        bool: _parse_bool,
        tuple[int, ...]: _parse_indices,
        Path: lambda text: Path(text).expanduser(),
    }
    try:
        return parsers.get(kind, str)(raw)
    except ValueError as error:
        expectations: dict[object, str] = {bool: "true or false", tuple[int, ...]: "indices of GPUs, as 0,1"}
        expected = expectations.get(kind, "a number")
        raise SettingsInvalid(f"{variable}: expected {expected}, got {raw!r}") from error


def _spell(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _parse_indices(text: str) -> tuple[int, ...]:
    indices = tuple(int(part) for part in text.split(","))
    if min(indices) < 0 or len(set(indices)) < len(indices):
        raise ValueError(text)
    return indices


def _parse_bool(text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.strip().lower() not in words:
        raise ValueError(text)
    return words[text.strip().lower()]


_OPTIONAL_AMOUNTS = (
    "requests_per_minute",
    "tokens_per_minute",
    "engine_answers",
    "engine_answers_beside_light",
    "batch_requests",
    "batch_answers_beside_live",
)


def _check_amounts(settings: Settings) -> None:
    positive = (
        "api_processes",
        "max_running_jobs",
        "trainer_threads",
        "max_crashes",
        "max_file_bytes",
        "max_upload_bytes",
        "max_adapter_bytes",
        "max_chat_body_bytes",
        "max_concurrent_answers",
        "max_loras",
        "max_resident_adapters",
        "engine_kv_cache_gib",
    )
    for name in positive:
        if getattr(settings, name) < 1:
            raise SettingsInvalid(f"TUNESMITH_{name.upper()}: must be at least 1")
    for name in _OPTIONAL_AMOUNTS:
        limit = getattr(settings, name)
        if limit is not None and limit < 1:
            raise SettingsInvalid(f"TUNESMITH_{name.upper()}: must be at least 1, or left out")
    for name in (
        "stop_grace_s",
        "engine_start_timeout_s",
        "engine_idle_s",
        "engine_wait_s",
        "max_queue_wait_s",
        "stalled_client_s",
    ):
        if not 0 <= getattr(settings, name) < math.inf:
            raise SettingsInvalid(f"TUNESMITH_{name.upper()}: must be seconds, 0 or more")


def _check_estimates(settings: Settings) -> None:
    memory, price = settings.trainer_memory_gib, settings.price_per_million_tokens
    if memory is not None and not 0 < memory < math.inf:
        raise SettingsInvalid("TUNESMITH_TRAINER_MEMORY_GIB: must be more than 0")
    if price is not None and not 0 <= price < math.inf:
        raise SettingsInvalid("TUNESMITH_PRICE_PER_MILLION_TOKENS: must be 0 or more")
    if not 0 <= settings.token_cache_gib < math.inf:
        raise SettingsInvalid("TUNESMITH_TOKEN_CACHE_GIB: must be 0 or more")
    if re.fullmatch("[A-Z]{3}", settings.currency) is None:
        raise SettingsInvalid("TUNESMITH_CURRENCY: must be three capital letters, as USD")


def _check_words(settings: Settings) -> None:
    if settings.log_level.lower() not in ("debug", "info", "warning", "error"):
        raise SettingsInvalid("TUNESMITH_LOG_LEVEL: must be debug, info, warning or error")
    if settings.pii_policy not in ("off", "warn", "block", "redact"):
        raise SettingsInvalid("TUNESMITH_PII_POLICY: must be off, warn, block or redact")
    if settings.wandb_mode not in ("online", "offline"):
        raise SettingsInvalid("TUNESMITH_WANDB_MODE: must be online or offline")
    if not settings.wandb_base_url.startswith(("https://", "http://")):
        raise SettingsInvalid("TUNESMITH_WANDB_BASE_URL: must begin with https:// or http://")


def _check_placing(settings: Settings) -> None:
    memory = settings.engine_memory_gib
    if memory is not None and not 0 < memory < math.inf:
        raise SettingsInvalid("TUNESMITH_ENGINE_MEMORY_GIB: must be more than 0")
    if settings.gpu_policy not in ("share", "yield", "separate"):
        raise SettingsInvalid("TUNESMITH_GPU_POLICY: must be share, yield or separate")
    if settings.gpu_policy == "separate" and set(settings.engine_gpus) & set(settings.trainer_gpus):
        raise SettingsInvalid("TUNESMITH_TRAINER_GPUS: must name none of TUNESMITH_ENGINE_GPUS")


def _check_webhooks(settings: Settings) -> None:
    if settings.webhook_max_endpoints < 0:
        raise SettingsInvalid("TUNESMITH_WEBHOOK_MAX_ENDPOINTS: must be 0 or more")
    if not 0 < settings.webhook_timeout_s <= 60:
        raise SettingsInvalid("TUNESMITH_WEBHOOK_TIMEOUT_S: must be seconds, more than 0 and at most 60")


def _check_stored_completions(settings: Settings) -> None:
    for name in ("stored_completion_days", "stored_completion_mib"):
        if getattr(settings, name) < 0:
            raise SettingsInvalid(f"TUNESMITH_{name.upper()}: must be 0 or more")


def _check(settings: Settings) -> None:
    _check_amounts(settings)
    _check_webhooks(settings)
    _check_stored_completions(settings)
    _check_words(settings)
    _check_estimates(settings)
    _check_placing(settings)
    if not 0 <= settings.port <= 65535:
        raise SettingsInvalid("TUNESMITH_PORT: must be between 0 and 65535")
    if not 0 <= settings.response_retention_days <= 36_500:
        raise SettingsInvalid("TUNESMITH_RESPONSE_RETENTION_DAYS: must be days, at most 36500; 0 stores none")
    if settings.response_mib < 0:
        raise SettingsInvalid("TUNESMITH_RESPONSE_MIB: must be 0 or more")
    if not 0.05 <= settings.engine_gpu_share <= 0.95:
        raise SettingsInvalid("TUNESMITH_ENGINE_GPU_SHARE: must be between 0.05 and 0.95")
    if not 0 < settings.max_adapter_error <= 1:
        raise SettingsInvalid("TUNESMITH_MAX_ADAPTER_ERROR: must be more than 0 and at most 1")
    if settings.max_lora_rank not in (1, 8, 16, 32, 64, 128, 256, 320, 512):
        raise SettingsInvalid("TUNESMITH_MAX_LORA_RANK: the engine takes 1, 8, 16, 32, 64, 128, 256, 320 or 512")
