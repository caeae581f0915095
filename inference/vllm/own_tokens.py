"""Refuses tokens that a model has no row for, within vLLM's API server.

vLLM lets every token pass that the tokenizer knows, though a model may have fewer: Gemma 3's text models have no row
for the picture that their tokenizer has a word for. One such word, in a chat or as an id, and the engine dies, whatever
it computes on. tests/engine asks a model that is smaller than its tokenizer.
"""

import importlib
from typing import Any


def know_the_models_own_tokens() -> None:
    renderer: Any = importlib.import_module("vllm.renderers.base").BaseRenderer
    refusal: Any = importlib.import_module("vllm.exceptions").VLLMValidationError
    original = renderer.validate_token_ids

    def validate_token_ids(self: Any, token_ids: Any, **named: Any) -> None:
        original(self, token_ids, **named)
        if token_ids and max(token_ids) >= self.model_config.get_vocab_size():
            raise refusal("A token is out of vocabulary")

    renderer.validate_token_ids = validate_token_ids
