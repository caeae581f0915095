"""The messages of a stored completion, as OpenAI lists them (pure). OpenAI: ChatCompletionMessageList."""

from collections.abc import Sequence
from typing import Any

from server.pagination import Page, unknown_cursor

JsonObject = dict[str, Any]


def page_of(
    messages: Sequence[JsonObject], completion_id: str, *, after: str | None, limit: int, ascending: bool
) -> Page[JsonObject]:
    """Those that were sent, in their order or against it.

    Raises:
        InvalidRequest: `after` is none of them.
    """
    shown = [show_message(message, f"{completion_id}-{place}") for place, message in enumerate(messages)]
    if not ascending:
        shown.reverse()
    start = 0
    if after is not None:
        start = 1 + next((place for place, message in enumerate(shown) if message["id"] == after), -1)
        if start == 0:
            raise unknown_cursor(after)
    return Page(shown[start : start + limit], has_more=len(shown) > start + limit)


def show_message(message: JsonObject, message_id: str) -> JsonObject:
    """What was sent stays; of a content in parts there is the text as the model read it, too."""
    content, parts = message.get("content"), None
    if isinstance(content, list):
        texts = [str(part.get("text") or part.get("refusal") or "") for part in content]
        parts = [{"type": "text", "text": part["text"]} for part in content if part.get("type") == "text"]
        content = "\n".join(texts)
    sent = {key: value for key, value in message.items() if value is not None}
    nothing = {"name": None, "refusal": None}
    return {"id": message_id, **nothing, **sent, "content": content, "content_parts": parts or None}
