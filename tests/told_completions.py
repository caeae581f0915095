"""Stored completions as OpenAI lists them."""

import time
from typing import Any

Json = dict[str, Any]


def told_completion(completion_id: str, *, age_s: int = 0, **fields: Any) -> Json:
    message = {"role": "assistant", "content": "Four.", "refusal": None, "annotations": []}
    return {
        "id": completion_id,
        "object": "chat.completion",
        "created": int(time.time()) - age_s,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 22},
        "service_tier": "default",
        "system_fingerprint": "fp_1",
        "request_id": "req_1",
        "input_user": None,
        "seed": 7,
        "temperature": 1.0,
        "top_p": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "tools": None,
        "tool_choice": None,
        "response_format": None,
        "metadata": {"of": "a test"},
        **fields,
    }


def told_messages(completion_id: str) -> list[Json]:
    parts = [{"type": "text", "text": "Two and"}, {"type": "text", "text": "two?"}]
    nothing = {"name": None, "refusal": None}
    return [
        {"id": f"{completion_id}-0", "role": "system", "content": "Be brief.", "content_parts": None, **nothing},
        {"id": f"{completion_id}-1", "role": "user", "content": "Two and\ntwo?", "content_parts": parts, **nothing},
    ]
