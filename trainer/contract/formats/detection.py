"""Which format a line is in, by its keys alone: a line of it may still be wrong."""

from trainer.contract.formats.names import FileFormat
from trainer.contract.messages import JsonObject

PREFERENCE_SIDES = (
    ("preferred_output", "non_preferred_output"),
    ("preferred_completion", "non_preferred_completion"),
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),
)
ANTHROPIC_BLOCKS = frozenset(
    {
        "tool_use",
        "tool_result",
        "thinking",
        "redacted_thinking",
        "image",
        "document",
        "search_result",
        "server_tool_use",
        "web_search_tool_result",
    }
)  # without `text`, which is also OpenAI's


def detect_format(row: JsonObject) -> FileFormat | None:
    """None: no key of any format is there.

    A row with both answers of a preference is one, also beside `messages`: training must not pass over the choice.
    """
    if any(good in row and bad in row for good, bad in PREFERENCE_SIDES):
        return FileFormat.PREFERENCE
    if "messages" in row:
        return FileFormat.ANTHROPIC if _is_anthropic(row) else FileFormat.CHAT
    if any(good in row or bad in row for good, bad in PREFERENCE_SIDES):
        return FileFormat.PREFERENCE
    if "conversations" in row:
        return FileFormat.SHAREGPT
    if "instruction" in row:
        return FileFormat.ALPACA
    if "prompt" in row or "completion" in row:
        return FileFormat.KTO if isinstance(row.get("label"), bool) else FileFormat.PROMPT_COMPLETION
    return FileFormat.TEXT if "text" in row else None


def _is_anthropic(row: JsonObject) -> bool:
    """By a top-level `system` or a block that only Anthropic has; without them it is OpenAI's."""
    if row.get("system") is not None:
        return True
    messages = row["messages"] if isinstance(row["messages"], list) else []
    contents = [message.get("content") for message in messages if isinstance(message, dict)]
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    kinds = [block.get("type") for block in blocks if isinstance(block, dict)]
    return any(isinstance(kind, str) and kind in ANTHROPIC_BLOCKS for kind in kinds)
