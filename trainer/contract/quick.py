"""Whether a line is valid, about as fast as it can be parsed, for the spellings that most files have.

No is not the last word: what is not recognised here is for `formats` to judge, which also says what is wrong.
Yes is: a test drives both over the same mutated lines.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import orjson

from trainer.contract import quick_shapes as shapes
from trainer.contract.depth import MAX_DEPTH
from trainer.contract.formats.names import FileFormat

REFUSALS = (msgspec.MsgspecError, orjson.JSONDecodeError, UnicodeDecodeError, RecursionError)
_ANSWERING = ("gpt", "assistant")
_REMEMBERED, _REMEMBERED_BYTES = 64, 64 * 1024  # lists of tools, and the size of each
Judge = Callable[[bytes], bool]


def judge_of(held: FileFormat) -> Judge:
    """What says whether a line, with or without white space around it, is valid for sure in a file of this format.

    The judge raises one of `REFUSALS`, or says no, if it is not sure.
    """
    return _ChatJudge() if held is FileFormat.CHAT else _JUDGES[held]


def unsure(_: bytes) -> bool:
    """The judge of a file whose format is not known."""
    return False


def _decoder(shape: Any) -> Callable[[bytes], Any]:
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(shape).decode
    return decode


_chat = _decoder(shapes.ChatRow)
_tools = _decoder(shapes.Tools | None)
_sharegpt = _decoder(shapes.ShareGptRow)
_anthropic = _decoder(shapes.AnthropicRow)


class _ChatJudge:
    """Of one file, whose lines mostly offer the same few lists of tools: each is looked at once."""

    def __init__(self) -> None:
        self._known = {b"null"}

    def __call__(self, line: bytes) -> bool:
        row = _chat(line)
        is_answered = False
        for message in row.messages:
            if type(message) is shapes.Answer:
                if message.tool_calls is not None:
                    if not _hold_objects(message.tool_calls):
                        return False
                elif message.content is None:
                    return False
                is_answered = True
        tools = bytes(row.tools)
        return is_answered and (tools in self._known or self._look_at(tools))

    def _look_at(self, tools: bytes) -> bool:
        _tools(tools)
        if not _is_shallow(tools, inside=1):
            return False
        if len(tools) <= _REMEMBERED_BYTES:
            if len(self._known) == _REMEMBERED:
                self._known = {b"null"}
            self._known.add(tools)
        return True


def _hold_objects(calls: list[shapes.Call]) -> bool:
    for call in calls:  # noqa: SIM110 - `all` takes twice as long for the one call that most have
        if type(orjson.loads(call.function.arguments or "{}")) is not dict:
            return False
    return True


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


def _is_shallow(text: bytes, *, inside: int = 0) -> bool:
    """Nothing is nested deeper than it has brackets, and those that it stands inside."""
    return text.count(b"{") + text.count(b"[") + inside <= MAX_DEPTH


def _is_of(shape: type) -> Judge:
    decode = _decoder(shape)

    def is_of_shape(line: bytes) -> bool:
        decode(line)
        return True

    return is_of_shape


_JUDGES: Mapping[FileFormat, Judge] = {
    FileFormat.PROMPT_COMPLETION: _is_of(shapes.PairRow),
    FileFormat.ALPACA: _is_of(shapes.AlpacaRow),
    FileFormat.SHAREGPT: _is_sharegpt,
    FileFormat.ANTHROPIC: _is_anthropic,
    FileFormat.TEXT: _is_of(shapes.TextRow),
    FileFormat.PREFERENCE: _is_of(shapes.PreferenceRow),
    FileFormat.KTO: _is_of(shapes.KtoRow),
}
