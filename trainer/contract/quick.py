"""Whether a line is valid, about as fast as it can be parsed, for the spellings that most files have.

No is not the last word: what is not recognised here is for `formats` to judge, which also says what is wrong.
Yes is: a test drives both over the same mutated lines.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from trainer.contract import quick_shapes as shapes
from trainer.contract.depth import MAX_DEPTH
from trainer.contract.formats.names import FileFormat

REFUSALS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_ANSWERING = ("gpt", "assistant")
Judge = Callable[[bytes], bool]


def judge_of(held: FileFormat) -> Judge:
    """What says whether a line, with or without white space around it, is valid for sure in a file of this format.

    The judge raises one of `REFUSALS`, or says no, if it is not sure.
    """
    return _JUDGES[held]


def unsure(_: bytes) -> bool:
    """The judge of a file whose format is not known."""
    return False


def _decoder(shape: type) -> Callable[[bytes], Any]:
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(shape, dec_hook=shapes.check_arguments).decode
    return decode


_chat = _decoder(shapes.ChatRow)
_sharegpt = _decoder(shapes.ShareGptRow)
_anthropic = _decoder(shapes.AnthropicRow)


def _is_chat(line: bytes) -> bool:
    row = _chat(line)
    is_answered = False
    for message in row.messages:
        if type(message) is shapes.Answer:
            if message.content is None and message.tool_calls is None:
                return False
            is_answered = True
    return is_answered and (row.tools is None or _is_shallow(line))


def _is_sharegpt(line: bytes) -> bool:
    turns = _sharegpt(line).conversations
    return turns[-1].speaker in _ANSWERING or any(turn.speaker in _ANSWERING for turn in turns)


def _is_anthropic(line: bytes) -> bool:
    row = _anthropic(line)
    is_answered, has_free_json = False, row.tools is not None
    for message in row.messages:
        has_blocks = type(message.content) is list
        if type(message) is shapes.AnthropicAnswer:
            is_answered = True
            has_free_json = has_free_json or has_blocks
        elif has_blocks and not _has_results_first(message.content):
            return False
    return is_answered and (not has_free_json or _is_shallow(line))


def _has_results_first(blocks: list[Any]) -> bool:
    kinds = [type(block) is shapes.TextBlock for block in blocks]
    return kinds == sorted(kinds)


def _is_shallow(line: bytes) -> bool:
    """No line is nested deeper than it has brackets."""
    return line.count(b"{") + line.count(b"[") <= MAX_DEPTH


def _is_of(shape: type) -> Judge:
    decode = _decoder(shape)

    def is_of_shape(line: bytes) -> bool:
        decode(line)
        return True

    return is_of_shape


_JUDGES: Mapping[FileFormat, Judge] = {
    FileFormat.CHAT: _is_chat,
    FileFormat.PROMPT_COMPLETION: _is_of(shapes.PairRow),
    FileFormat.ALPACA: _is_of(shapes.AlpacaRow),
    FileFormat.SHAREGPT: _is_sharegpt,
    FileFormat.ANTHROPIC: _is_anthropic,
    FileFormat.TEXT: _is_of(shapes.TextRow),
    FileFormat.PREFERENCE: _is_of(shapes.PreferenceRow),
    FileFormat.KTO: _is_of(shapes.KtoRow),
}
