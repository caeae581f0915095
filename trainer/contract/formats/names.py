"""The formats of a data file: a closed list, and what each is called in a message."""

from enum import StrEnum


class FileFormat(StrEnum):
    CHAT = "chat"
    PROMPT_COMPLETION = "prompt_completion"
    ALPACA = "alpaca"
    SHAREGPT = "sharegpt"
    ANTHROPIC = "anthropic"
    TEXT = "text"
    PREFERENCE = "preference"
    KTO = "kto"

    @property
    def spoken(self) -> str:
        """What the lines of such a file are, in the words of a message."""
        return _SPOKEN[self]


_SPOKEN = {
    FileFormat.CHAT: "chat messages",
    FileFormat.PROMPT_COMPLETION: "prompt/completion pairs",
    FileFormat.ALPACA: "Alpaca instructions",
    FileFormat.SHAREGPT: "ShareGPT conversations",
    FileFormat.ANTHROPIC: "Anthropic messages",
    FileFormat.TEXT: "plain text",
    FileFormat.PREFERENCE: "preference pairs",
    FileFormat.KTO: "KTO examples",
}

SUPERVISED = frozenset(
    {
        FileFormat.CHAT,
        FileFormat.PROMPT_COMPLETION,
        FileFormat.ALPACA,
        FileFormat.SHAREGPT,
        FileFormat.ANTHROPIC,
    }
)  # what the method supervised trains on; each becomes a conversation
EVERY = frozenset(FileFormat)
