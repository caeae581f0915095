"""vLLM's API server for a CPU, with six things of its own put right: `python -m inference.vllm.cpu_server …`

- Where a batch holds requests with and without an adapter, vLLM 0.32 gives those without one the index -1, and its
  CPU kernels take that for the *last* slot: the base model answers with somebody's adapter. tests/engine shows it.
  They also copy an adapter's factor, padded to the largest rank that is allowed, for every token.
  Remove `cpu_products` when a release passes that test without it, and `python -m benchmarks ranks` says 1.
- Adapters may change the last layer, of which none of ours does: `inference.adapter_files` refuses one. vLLM multiplies
  with the zeros all the same, with the adapters of the batch's *last* tokens. `prompt_logprobs` has it do so for all
  tokens of a prompt, whose number is another, and the engine dies of it, unless it has that one request alone.
  `leave_last_layer_alone` takes the product away. tests/engine scores beside other requests.
- With adapters at all, vLLM wraps the experts of a mixture, too, and computes them by Triton, which a CPU has not: the
  engine starts, and dies of its first request. No adapter of ours changes experts. `leave_experts_alone` has them
  computed as without adapters.
- A token that the model has no row for ends the engine: see `own_tokens`, which a GPU's has, too.
- On a CPU vLLM starts its engine as a fresh process, which imports everything again: ten seconds and half a
  gigabyte. It does so for the sake of OpenMP's threads. With one thread there is nothing to lose, and the engine is
  forked, as vLLM does on a GPU.
- vLLM looks at a model's class in yet another process, so as not to wake a GPU: ten seconds at the first start.
  There is none to wake.

vLLM is imported by name alone: nothing else of this project, nor its tools, is to see it. An engine that is a fresh
process imports this module again, and is put right with it.
"""

import importlib
import os
from typing import Any

from inference.vllm.cpu_products import multiply_by_adapter
from inference.vllm.own_tokens import know_the_models_own_tokens


def leave_last_layer_alone(wrapper: Any) -> None:
    wrapper.add_lora_logits = lambda _self, logits, *_args, **_kwargs: logits


def leave_experts_alone(settings: Any, wrappers: Any) -> None:
    original = settings.__init__

    def __init__(self: Any, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **{**named, "is_lora_enabled": False})

    settings.__init__ = __init__
    for wrapper in wrappers:
        wrapper.can_replace_layer = classmethod(lambda _cls, *_args, **_kwargs: False)


def fork_the_engine(platform: Any) -> None:
    """Take back what the platform decides about starting processes; where it decides, it overwrites the environment."""
    original = platform.check_and_update_config.__func__

    def check_and_update_config(cls: Any, config: Any) -> None:
        original(cls, config)
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"

    platform.check_and_update_config = classmethod(check_and_update_config)


def inspect_models_here(registry: Any) -> None:
    registry._run_in_subprocess = lambda look: look()


if __name__ in ("__main__", "__mp_main__"):
    multiply_by_adapter(
        importlib.import_module("vllm.lora.ops.torch_ops.lora_ops"),
        importlib.import_module("vllm.lora.punica_wrapper.punica_cpu"),
    )
    leave_last_layer_alone(importlib.import_module("vllm.lora.punica_wrapper.punica_cpu").PunicaWrapperCPU)
    moe_wrappers = importlib.import_module("vllm.lora.layers.fused_moe")
    leave_experts_alone(
        importlib.import_module("vllm.model_executor.layers.fused_moe.config").FusedMoEConfig,
        (moe_wrappers.FusedMoEWithLoRA, moe_wrappers.FusedMoE3DWithLoRA),
    )
    know_the_models_own_tokens()

if __name__ == "__main__":
    inspect_models_here(importlib.import_module("vllm.model_executor.models.registry"))
    if os.environ.get("OMP_NUM_THREADS") == "1":
        fork_the_engine(importlib.import_module("vllm.platforms.cpu").CpuPlatform)
    importlib.import_module("vllm.entrypoints.launchers.api_server.entry").main()
