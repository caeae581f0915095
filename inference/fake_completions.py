"""What the fake engine answers where it is asked to go on with a text, in vLLM's form (pure)."""

import json
from typing import Any


def whole_completion(body: dict[str, Any]) -> dict[str, Any]:
    """Build an answer: one choice for each prompt and each of its `n`."""
    choices = [
        {
            "index": index,
            "text": _echoed(body, prompt) + text,
            "logprobs": _logprobs(body, prompt, text),
            "finish_reason": "stop",
            "stop_reason": None,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "token_ids": None,
            "routed_experts": None,
        }
        for index, (prompt, text) in enumerate(_texts(body))
    ]
    return {
        "id": "cmpl-fake",
        "object": "text_completion",
        "created": 1_700_000_000,
        "model": body["model"],
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": None,
        "usage": {**_usage(body), "prompt_tokens_details": None},
        "kv_transfer_params": None,
        "metrics": None,
    }


def completion_chunks(body: dict[str, Any]) -> list[bytes]:
    """Build the events of a streamed answer, a word each, the choices one after the other."""
    options = body.get("stream_options") or {}
    events = []
    for index, (prompt, text) in enumerate(_texts(body)):
        words = _words(text)
        for count, word in enumerate(words, start=1):
            echoed = _echoed(body, prompt) if count == 1 else ""
            choice = {
                "index": index,
                "text": echoed + word,
                "logprobs": _logprobs(body, prompt if count == 1 else "", word),
            }
            ends = {"finish_reason": "stop" if count == len(words) else None, "stop_reason": None}
            event = _chunk(body, [choice | ends | {"prompt_token_ids": None, "token_ids": None}])
            if options.get("continuous_usage_stats"):
                event["usage"] = _tokens(prompt_length(prompt), count)
            events.append(event)
    if options.get("include_usage"):
        events.append({**_chunk(body, []), "usage": _usage(body)})
    return [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events] + [b"data: [DONE]\n\n"]


def prompts_of(given: Any) -> list[Any]:
    """Give each of the texts, or lists of token ids, that a field holds in one of its four forms."""
    is_one = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
    return [given] if is_one else list(given)


def prompt_length(prompt: Any) -> int:
    """Count tokens: ids as they are, of a text its words."""
    return len(prompt.split()) if isinstance(prompt, str) else len(prompt)


def _texts(body: dict[str, Any]) -> list[tuple[Any, str]]:
    """Give for each choice its prompt and the words that answer it."""
    return [
        (prompt, f"{body['model']} goes on after {prompt_length(prompt)} tokens")
        for prompt in prompts_of(body["prompt"])
        for _ in range(body.get("n") or 1)
    ]


def _echoed(body: dict[str, Any], prompt: Any) -> str:
    if not body.get("echo"):
        return ""
    return prompt if isinstance(prompt, str) else "".join(f"<{token}>" for token in prompt)


def _words(text: str) -> list[str]:
    first, *others = text.split(" ")
    return [first, *(f" {word}" for word in others)]


def _logprobs(body: dict[str, Any], prompt: Any, text: str) -> dict[str, Any] | None:
    if body.get("logprobs") is None:
        return None
    echoed = _words(_echoed(body, prompt)) if body.get("echo") and prompt else []
    tokens = [*echoed, *_words(text)]
    scores = [None if echoed and place == 0 else -0.5 for place in range(len(tokens))]
    offsets = [sum(map(len, tokens[:place])) for place in range(len(tokens))]
    likeliest = [None if score is None else {token: score} for token, score in zip(tokens, scores, strict=True)]
    return {"text_offset": offsets, "token_logprobs": scores, "tokens": tokens, "top_logprobs": likeliest}


def _chunk(body: dict[str, Any], choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": "cmpl-fake",
        "object": "text_completion",
        "created": 1_700_000_000,
        "model": body["model"],
        "choices": choices,
    }


def _usage(body: dict[str, Any]) -> dict[str, Any]:
    prompt = sum(map(prompt_length, prompts_of(body["prompt"])))
    return _tokens(prompt, sum(len(text.split()) for _, text in _texts(body)))


def _tokens(prompt: int, completion: int) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
