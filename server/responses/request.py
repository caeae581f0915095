"""The body of a request for a response → a checked request, which becomes one of the engine's chat (pure).

OpenAI: CreateResponse. Every field of OpenAI's is decided in `request_fields`; everything else is refused by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from server.chat.request import counted
from server.chat.request_fields import PASSED_ON
from server.errors import InvalidRequest
from server.relay.fields import JsonObject, unrecognized
from server.relay.request_body import read_model, read_object
from server.responses.before import Before
from server.responses.conversation import to_messages
from server.responses.item_ids import item_id
from server.responses.items import REFERENCE, read_input
from server.responses.request_fields import DEFAULTS, KNOWN, LOGPROBS, NOT_SHOWN, SHOWN


@dataclass(frozen=True, slots=True)
class ResponseRequest:
    """A request for a response. Its conversation is whole once `completed` has been asked."""

    model: str  # as asked
    stream: bool
    shown: JsonObject = field(repr=False)  # the fields that the response shows again
    items: Sequence[JsonObject] = field(repr=False)  # of the request itself
    fields: Mapping[str, Any] = field(repr=False)  # for the engine; without `model`
    asked: bytes = field(repr=False)  # as the client wrote it
    raw: bytes = field(repr=False)  # likewise; with a conversation before it, all that the model reads
    wants_logprobs: bool = False
    id: str = ""  # of the response
    created_at: int = 0  # unix seconds
    before: Before = field(default=Before(), repr=False)

    @property
    def is_kept(self) -> bool:
        return bool(self.shown["store"])

    @property
    def is_background(self) -> bool:
        return bool(self.shown["background"])

    @property
    def previous_id(self) -> str | None:
        previous: str | None = self.shown["previous_response_id"]
        return previous

    def referred(self) -> list[str]:
        """Give the ids of items that are only named."""
        return [item["id"] for item in self.items if item["type"] == REFERENCE]

    def completed(
        self, response_id: str, now: int, before: Before, found: Mapping[str, JsonObject]
    ) -> "ResponseRequest":
        """Give the request of a response, with what came before it and the items it names, by their ids.

        Raises:
            InvalidRequest: the conversation is none.
        """
        items = [found[item["id"]] if item["type"] == REFERENCE else item for item in self.items]
        messages = to_messages(self.shown["instructions"], before.items, items)
        if not messages:
            raise _no_input()
        named = [{"id": item_id(item["type"], response_id, i), **item} for i, item in enumerate(items)]
        return replace(
            self,
            id=response_id,
            created_at=now,
            items=named,
            fields={**self.fields, "messages": messages},
            raw=orjson.dumps(messages) if before.items or found else self.raw,
            before=before,
        )

    def unkept(self) -> "ResponseRequest":
        """Give the request as if it had not asked to be stored."""
        return replace(self, shown=self.shown | {"store": False})

    def body_for(self, model: str, cache_salt: str) -> bytes:
        body = {**self.fields, "model": model, "cache_salt": cache_salt}
        if self.stream:
            body |= {"stream": True, **counted(len(self.raw))}
        return orjson.dumps(body)


def read_request(raw: bytes) -> ResponseRequest:
    """Check a body.

    Raises:
        InvalidRequest: in OpenAI's words; the message repeats nothing of the input.
    """
    body = read_object(raw)
    model = read_model(body)
    if not body.keys() <= KNOWN:
        raise unrecognized([name for name in body if name not in KNOWN])
    given = {name: value for name, value in body.items() if value is not None}
    if "input" not in given and "previous_response_id" not in given:
        raise _no_input()
    items = read_input(given["input"]) if "input" in given else []
    others = {name: check(given[name], name) for name, check in NOT_SHOWN.items() if name in given}
    shown = DEFAULTS | {name: check(given[name], name) for name, check in SHOWN.items() if name in given}
    stream = bool(others.get("stream"))
    _check_together(shown, stream=stream, has_stream_options="stream_options" in given)
    wants_logprobs = LOGPROBS in others.get("include", [])
    fields = _engine_fields(shown, given, wants_logprobs=wants_logprobs)
    return ResponseRequest(model, stream, shown, items, fields, raw, raw, wants_logprobs)


def _engine_fields(shown: JsonObject, given: JsonObject, *, wants_logprobs: bool) -> JsonObject:
    fields: JsonObject = {}
    for name in ("temperature", "top_p"):
        if name in given:
            fields[name] = PASSED_ON[name](given[name], name)
    if shown["max_output_tokens"] is not None:
        fields["max_completion_tokens"] = shown["max_output_tokens"]
    if shown["reasoning"]["effort"] is not None:
        fields["reasoning_effort"] = shown["reasoning"]["effort"]
    if wants_logprobs:
        fields |= {"logprobs": True, "top_logprobs": shown["top_logprobs"]}
    wanted = shown["text"]["format"]
    if wanted["type"] == "json_object":
        fields["response_format"] = wanted
    elif wanted["type"] == "json_schema":
        fields["response_format"] = {"type": "json_schema", "json_schema": _without_type(wanted)}
    return fields | _tool_fields(shown)


def _tool_fields(shown: JsonObject) -> JsonObject:
    if not shown["tools"]:
        return {}
    choice = shown["tool_choice"]
    if isinstance(choice, dict):
        choice = {"type": "function", "function": {"name": choice["name"]}}
    return {
        "tools": [{"type": "function", "function": _without_type(tool)} for tool in shown["tools"]],
        "tool_choice": choice,
        "parallel_tool_calls": shown["parallel_tool_calls"],
    }


def _without_type(named: JsonObject) -> JsonObject:
    return {name: value for name, value in named.items() if name != "type" and value is not None}


def _check_together(shown: JsonObject, *, stream: bool, has_stream_options: bool) -> None:
    """Check what fields say of each other."""
    if has_stream_options and not stream:
        raise _wrong("stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
    choice, tools = shown["tool_choice"], shown["tools"]
    if isinstance(choice, dict) and choice["name"] not in {tool["name"] for tool in tools}:
        raise _wrong("tool_choice", "Invalid value for 'tool_choice': the function it names is not among 'tools'.")
    if choice == "required" and not tools:
        raise _wrong("tool_choice", "Invalid value for 'tool_choice': 'required' is only allowed with 'tools'.")
    if shown["background"] and not shown["store"]:
        raise _wrong("background", "Invalid value for 'background': what runs in the background has to be stored.")
    if shown["background"] and stream:
        raise InvalidRequest(
            "Unsupported value for 'stream': a response in the background is not streamed. Retrieve it until it ends.",
            param="stream",
            code="unsupported_value",
        )


def _wrong(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, param=param, code="invalid_value")


def _no_input() -> InvalidRequest:
    return InvalidRequest(
        "Missing required parameter: one of 'input' and 'previous_response_id' must be provided.",
        param="input",
        code="missing_required_parameter",
    )
