"""The items of a response while they grow, and the events that tell of each step (pure)."""

from typing import Protocol

from server.relay.fields import JsonObject
from server.responses import response

Event = tuple[str, JsonObject]  # its type but for `response.`, and what it says


class Growing(Protocol):
    """An item of the output that more may come of."""

    def end(self, status: str) -> list[Event]:
        """Close it."""
        ...

    @property
    def item(self) -> JsonObject: ...


class GrowingText:
    """The model's message."""

    def __init__(self, response_id: str, index: int) -> None:
        self._response_id = response_id
        self._index = index
        self._texts: list[str] = []
        self._logprobs: list[JsonObject] = []
        self._status = "in_progress"
        self._place = {"item_id": self.item["id"], "output_index": index, "content_index": 0}

    @property
    def item(self) -> JsonObject:
        content = [] if self._status == "in_progress" else [self._part]
        return response.message_item(self._response_id, self._index, self._status, content)

    def begin(self) -> list[Event]:
        return [
            ("output_item.added", {"output_index": self._index, "item": self.item}),
            ("content_part.added", {**self._place, "part": response.text_part("", [])}),
        ]

    def grow(self, text: str, logprobs: list[JsonObject]) -> list[Event]:
        self._texts.append(text)
        self._logprobs += logprobs
        return [("output_text.delta", {**self._place, "delta": text, "logprobs": logprobs})]

    def end(self, status: str) -> list[Event]:
        self._status = status
        part = self._part
        return [
            ("output_text.done", {**self._place, "text": part["text"], "logprobs": part["logprobs"]}),
            ("content_part.done", {**self._place, "part": part}),
            ("output_item.done", {"output_index": self._index, "item": self.item}),
        ]

    @property
    def _part(self) -> JsonObject:
        return response.text_part("".join(self._texts), self._logprobs)


class GrowingCall:
    """A call of a function."""

    def __init__(self, response_id: str, index: int, call_id: str) -> None:
        self._response_id = response_id
        self._index = index
        self._call_id = call_id
        self._name = ""
        self._arguments: list[str] = []
        self._status = "in_progress"
        self._place = {"item_id": self.item["id"], "output_index": index}

    @property
    def item(self) -> JsonObject:
        called = (self._call_id, self._name, "".join(self._arguments))
        return response.call_item(self._response_id, self._index, self._status, called)

    def begin(self, name: str) -> list[Event]:
        self._name = name
        return [("output_item.added", {"output_index": self._index, "item": self.item})]

    def grow(self, arguments: str) -> list[Event]:
        self._arguments.append(arguments)
        return [("function_call_arguments.delta", {**self._place, "delta": arguments})]

    def end(self, status: str) -> list[Event]:
        self._status = status
        item = self.item
        said = {**self._place, "name": self._name, "arguments": item["arguments"]}
        return [
            ("function_call_arguments.done", said),
            ("output_item.done", {"output_index": self._index, "item": item}),
        ]
