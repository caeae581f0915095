"""What the fake engine answers where it is asked for embeddings, in vLLM's form (pure)."""

import base64
import struct
from typing import Any

from inference.fake_completions import prompt_length, prompts_of

_DIMENSIONS = 4


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    """Build an answer: of each text a vector of its own."""
    texts = prompts_of(body["input"])
    as_base64 = body.get("encoding_format") == "base64"
    vectors = [_vector(text, body.get("dimensions") or _DIMENSIONS) for text in texts]
    tokens = sum(map(prompt_length, texts))
    return {
        "id": "embd-fake",
        "object": "list",
        "created": 1_700_000_000,
        "model": body["model"],
        "data": [
            {"index": index, "object": "embedding", "embedding": _encoded(vector) if as_base64 else vector}
            for index, vector in enumerate(vectors)
        ],
        "usage": {
            "prompt_tokens": tokens,
            "total_tokens": tokens,
            "completion_tokens": 0,
            "prompt_tokens_details": None,
        },
    }


def _vector(text: Any, dimensions: int) -> list[float]:
    return [(prompt_length(text) % 7 + place) / 8 for place in range(dimensions)]


def _encoded(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
