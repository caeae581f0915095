"""What most lines of each format look like, for msgspec: whatever is of these shapes is valid by `formats` too.

Unknown keys are forbidden everywhere, so that nothing is passed over unread: bytes that are skipped are not checked.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct, field

Schema = dict[str, Any]  # how deep it is nested is for the caller to see


class _Shape(Struct, forbid_unknown_fields=True, gc=False):
    """Fields that are null are as good as absent."""


class TextPart(_Shape):
    type: Literal["text"]  # a tag would be optional where there is nothing to tell apart
    text: str


Words = str | Annotated[list[TextPart], Meta(min_length=1)]
Filled = Annotated[str, Meta(min_length=1)]


class Function(_Shape):
    name: str
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class Tool(_Shape):
    type: Literal["function"]
    function: Function


class Called(_Shape):
    name: str
    arguments: str  # whether it holds an object is for the caller to see


class Call(_Shape):
    id: str
    type: Literal["function"]
    function: Called


class Asking(_Shape, tag_field="role", tag="user"):
    content: Words
    name: str | None = None


class SystemPrompt(Asking, tag_field="role", tag="system"):
    pass


class DeveloperPrompt(Asking, tag_field="role", tag="developer"):
    pass


class Answer(_Shape, tag_field="role", tag="assistant"):
    content: Words | None = None
    tool_calls: Annotated[list[Call], Meta(min_length=1)] | None = None
    name: str | None = None
    weight: Literal[0, 1, None] = None
    refusal: None = None
    function_call: None = None


class Result(_Shape, tag_field="role", tag="tool"):
    content: Words
    tool_call_id: str
    name: str | None = None


Tools = Annotated[list[Tool], Meta(min_length=1, max_length=128)]


class ChatRow(_Shape):
    messages: Annotated[list[Answer | Asking | SystemPrompt | DeveloperPrompt | Result], Meta(min_length=1)]
    tools: Raw = Raw(b"null")  # for the caller to see, who has mostly seen the very same in the line before
    parallel_tool_calls: bool | None = None


class PairRow(_Shape):
    prompt: str
    completion: str
    system: str | None = None


class AlpacaRow(_Shape):
    instruction: Filled
    output: str
    input: str | None = None
    system: str | None = None


class Turn(_Shape):
    speaker: Literal["human", "gpt", "system", "user", "assistant", "tool"] = field(name="from")
    value: str


class ShareGptRow(_Shape):
    conversations: Annotated[list[Turn], Meta(min_length=1)]


class TextBlock(_Shape, tag_field="type", tag="text"):
    text: str


class ToolUse(_Shape, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: Schema


class ToolResult(_Shape, tag_field="type", tag="tool_result"):
    tool_use_id: str
    content: Words | None = None
    is_error: bool | None = None


class AnthropicUser(_Shape, tag_field="role", tag="user"):
    content: str | Annotated[list[TextBlock | ToolResult], Meta(min_length=1)]


class AnthropicAnswer(_Shape, tag_field="role", tag="assistant"):
    content: str | Annotated[list[TextBlock | ToolUse], Meta(min_length=1)]


class AnthropicTool(_Shape):
    name: str
    input_schema: Schema
    description: str | None = None


class AnthropicRow(_Shape):
    messages: Annotated[list[AnthropicAnswer | AnthropicUser], Meta(min_length=1)]
    system: Words | None = None
    tools: Annotated[list[AnthropicTool], Meta(min_length=1, max_length=128)] | None = None


class TextRow(_Shape):
    text: Filled


class PreferenceRow(_Shape):
    prompt: str
    chosen: str
    rejected: str


class KtoRow(_Shape):
    prompt: str
    completion: str
    label: bool
