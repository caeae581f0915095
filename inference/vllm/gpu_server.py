"""vLLM's API server for a GPU, with one thing of its own put right: `python -m inference.vllm.gpu_server …`

It refuses tokens that the model has no row for: see `own_tokens`. vLLM is imported by name alone: nothing else of this
project, nor its tools, is to see it.
"""

import importlib

from inference.vllm.own_tokens import know_the_models_own_tokens

if __name__ == "__main__":
    know_the_models_own_tokens()
    importlib.import_module("vllm.entrypoints.launchers.api_server.entry").main()
