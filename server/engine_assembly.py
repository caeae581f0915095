"""Settings → the engines: how their processes are started, and how an API process reaches them."""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from inference.base_shapes import BaseShapes, read_base_shapes
from inference.engine import InferenceEngine
from inference.lending.borrower import Borrower
from inference.vllm.adapters import AdapterLimits
from inference.vllm.command import EngineCommand, EngineSettings, build_command
from inference.vllm.engine import VllmEngine
from inference.vllm.loading import AdapterChecks
from inference.vllm.process import choose_cpu_dtype, engine_cpu_threads, find_device
from server.base_models import BaseModelEntry, BaseModels, Kind
from server.models.names import directory_of
from server.placement.board import EngineBoard
from server.placement.facts import Policy
from server.placement.pooled_engine import PooledEngine
from server.placement.sizing import EngineSize, Placement
from server.quantised_serving import is_quantised
from server.record.base_identity import find_directory
from server.record.golden_examiner import GoldenExaminer
from server.settings import Settings


def build_engine_commands(settings: Settings, base_models: BaseModels, placement: Placement) -> list[EngineCommand]:
    """Say how each base model's engine process is started."""
    return [
        build_command(
            _engine_settings(settings, entry, size, placement.policy, settings.engine_socket(index)),
            python=sys.executable,
            inherited=os.environ,
        )
        for index, (entry, size) in enumerate(zip(base_models.entries, placement.sizes, strict=True))
    ]


def build_full_engine_command(
    settings: Settings, base: BaseModelEntry, size: EngineSize, policy: Policy
) -> EngineCommand:
    """Say how the engine process of the full model that `size` names is started: as its base's, without adapters."""
    place = directory_of(size.base_model)
    of_base = _engine_settings(settings, base, size, policy, settings.engine_socket(place))
    model = str(settings.adapters / place)
    engine = replace(
        of_base,
        model=model,
        revision=None,
        served_name=size.base_model,
        max_loras=0,
        cpu_threads=engine_cpu_threads(model),
        cpu_dtype=choose_cpu_dtype(model),
        chat_template=None,  # the model's own is its base's
        quantization=None,
    )
    return build_command(engine, python=sys.executable, inherited=os.environ)


def _engine_settings(
    settings: Settings, entry: BaseModelEntry, size: EngineSize, policy: Policy, socket: Path
) -> EngineSettings:
    device = find_device()
    return EngineSettings(
        model=entry.source,
        revision=entry.revision,
        served_name=entry.name,
        context_length=entry.context_length,
        socket=socket,
        cache_directory=_engine_cache(settings),
        device=device,
        max_loras=settings.max_loras,
        max_resident_adapters=settings.max_resident_adapters,
        max_lora_rank=settings.max_lora_rank,
        gpu_memory_share=size.gpu_share,
        gpu=_gpu_of(size, policy, device),
        kv_cache_gib=settings.engine_kv_cache_gib,
        cpu_threads=engine_cpu_threads(entry.source),
        cpu_dtype=choose_cpu_dtype(entry.source, is_quantised=is_quantised(entry)),
        quantization=entry.serve_quantized,
        tool_call_parser=entry.tool_call_parser,
        chat_template=entry.chat_template,
        embeds=entry.kind is Kind.EMBEDDING,
    )


def _engine_cache(settings: Settings) -> Path:
    """Where engines keep compiled code: with the environment it belongs to, for every home; else in this home."""
    root = Path(sys.prefix) if os.access(sys.prefix, os.W_OK) else settings.home
    cache = root / "cache" / "vllm"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    return cache


def _gpu_of(size: EngineSize, policy: Policy, device: str) -> int | None:
    """None: the first, or none at all."""
    return size.device if device == "cuda" and policy is Policy.SEPARATE else None


def build_engines(
    settings: Settings, base_models: BaseModels, borrower: Borrower | None = None
) -> dict[str, VllmEngine]:
    """One engine per base model, each on its process's socket. They belong to one event loop; close them at its end."""
    limits = AdapterLimits(max_resident=settings.max_resident_adapters, max_rank=settings.max_lora_rank)
    return {
        entry.name: VllmEngine(
            base_model=entry.name,
            socket=settings.engine_socket(index),
            limits=limits,
            checks=AdapterChecks(partial(_read_shapes, entry), GoldenExaminer(entry.serve_quantized)),
            borrower=borrower,
        )
        for index, entry in enumerate(base_models.entries)
    }


def build_full_engine(settings: Settings, board: EngineBoard, name: str) -> PooledEngine:
    """The engine of a full model, waited for while it is away. It belongs to one event loop; close it at its end."""
    engine = VllmEngine(
        base_model=name,
        socket=settings.engine_socket(directory_of(name)),
        limits=AdapterLimits(max_resident=1, max_rank=settings.max_lora_rank),
        checks=AdapterChecks(examiner=GoldenExaminer()),
        is_full=True,
    )
    return PooledEngine(name, engine, board, wait_s=settings.engine_wait_s, on_demand=True)


def pool_engines(
    settings: Settings, engines: Mapping[str, InferenceEngine], board: EngineBoard
) -> dict[str, PooledEngine]:
    """The engines of base models, waited for while they are away."""
    return {
        name: PooledEngine(name, engine, board, wait_s=settings.engine_wait_s, is_only=len(engines) == 1)
        for name, engine in engines.items()
    }


def _read_shapes(entry: BaseModelEntry) -> BaseShapes | None:
    directory = find_directory(entry)
    return None if directory is None else read_base_shapes(directory)
