"""The formats of a data file: a closed list, what each is called in a message, and which method trains on it."""

from collections.abc import Mapping
from enum import StrEnum

from trainer.contract.spec import MethodName


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
PREFERENCE_PAIRS = frozenset({FileFormat.PREFERENCE})
OF_METHOD: Mapping[MethodName, frozenset[FileFormat]] = {
    "supervised": SUPERVISED,
    "dpo": PREFERENCE_PAIRS,
    "orpo": PREFERENCE_PAIRS,
    "kto": frozenset({FileFormat.KTO}),
    "simpo": PREFERENCE_PAIRS,
    "continued_pretraining": frozenset({FileFormat.TEXT}),
}


def formats_of(method: MethodName | None) -> frozenset[FileFormat]:
    """What a method trains on; of none in particular, every format."""
    return frozenset(FileFormat) if method is None else OF_METHOD[method]


def methods_for(held: FileFormat) -> tuple[MethodName, ...]:
    """The methods that train on a format."""
    return tuple(method for method, formats in OF_METHOD.items() if held in formats)
