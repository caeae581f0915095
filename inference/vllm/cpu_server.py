"""vLLM's API server for a CPU, with a fault of its CPU kernels put right: `python -m inference.vllm.cpu_server …`

Where a batch holds requests with and without an adapter, vLLM 0.32 gives those without one the index -1, and its
CPU kernels take that for the *last* slot: the base model answers with somebody's adapter. tests/engine shows it.
Remove this, and run vLLM's own module, when a release passes that test without it.

vLLM is imported by name alone: nothing else of this project, nor its tools, is to see it. The engine's child
processes import this module again, and are put right with it.
"""

import importlib
from typing import Any


def correct_base_rows(kernels: Any, users: Any) -> None:
    """Have the first LoRA product give nothing for tokens without an adapter; what follows then adds nothing."""
    original = kernels.bgmv_shrink

    def bgmv_shrink(inputs: Any, weights: Any, output: Any, indices: Any, scaling: float = 1.0) -> None:
        original(inputs, weights, output, indices, scaling)
        output[(indices < 0).expand(len(output))] = 0  # one index may stand for all rows

    kernels.bgmv_shrink = users.bgmv_shrink = bgmv_shrink


if __name__ in ("__main__", "__mp_main__"):
    correct_base_rows(
        importlib.import_module("vllm.lora.ops.torch_ops.lora_ops"),
        importlib.import_module("vllm.lora.punica_wrapper.punica_cpu"),
    )

if __name__ == "__main__":
    importlib.import_module("vllm.entrypoints.launchers.api_server.entry").main()
