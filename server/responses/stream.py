"""The engine's stream of a chat → a response's typed events, as they come (pure). OpenAI: ResponseStreamEvent."""

from collections.abc import Callable

import orjson

from inference.sse import EventSplitter
from server.chat.stream import StreamRewriter
from server.errors import ApiError
from server.relay.accounts import Usage
from server.relay.answers import AnswerUnusable, Naming
from server.relay.fields import JsonObject
from server.responses import response
from server.responses.output import Event, Growing, GrowingCall, GrowingText
from server.responses.request import ResponseRequest
from server.vocabulary import ResponseStatus

_DONE = b"[DONE]"


class EventRewriter:
    """Rewrites one stream. It stands on the chat's own rewriter, which lets nothing through that is not OpenAI's."""

    def __init__(self, naming: Naming, request: ResponseRequest, clock: Callable[[], float]) -> None:
        self._chat = StreamRewriter(naming, wants_usage=True)
        self._clock = clock  # unix seconds
        self._splitter = EventSplitter()
        self._response_id = request.id
        self._wants_logprobs = request.wants_logprobs
        self._begun = response.begin(request, ResponseStatus.IN_PROGRESS)
        self._number = 0  # of the next event
        self._growing: list[Growing] = []  # in the order of the output
        self._text: GrowingText | None = None
        self._held: list[JsonObject] = []  # log-probabilities of tokens that no text has come of yet
        self._calls: dict[int, GrowingCall] = {}  # by the engine's index
        self._finish_reason: str | None = None
        self._usage: JsonObject = {}

    @property
    def usage(self) -> Usage | None:
        return self._chat.usage

    @property
    def is_done(self) -> bool:
        return self._chat.is_done

    def so_far(self) -> Usage | None:
        return self._chat.so_far()

    def feed(self, chunk: bytes) -> bytes:
        """Give what can be sent on; may be empty.

        Raises:
            AnswerRefused: the engine says so.
            AnswerUnusable: the stream must not be taken for a whole answer.
        """
        events: list[Event] = []
        for payload in self._splitter.feed(self._chat.feed(chunk)):
            if not self._number and not events:
                events += [("created", {"response": self._begun}), ("in_progress", {"response": self._begun})]
            events += self._end() if payload == _DONE else self._read(orjson.loads(payload))
        return b"".join(map(self._write, events))

    def fail(self, error: ApiError) -> bytes:
        """Give the last event of a stream that comes to nothing."""
        return self._write(("failed", {"response": response.fail(self._begun, error)}))

    def _read(self, chunk: JsonObject) -> list[Event]:
        if chunk["usage"] is not None:
            self._usage = chunk["usage"]
        events: list[Event] = []
        for choice in chunk["choices"]:
            self._finish_reason = choice["finish_reason"] or self._finish_reason
            delta = choice["delta"]
            if self._wants_logprobs:
                self._held += response.read_logprobs(choice["logprobs"])
            if delta.get("content") or (self._held and self._text is not None):
                events += self._say(delta.get("content") or "")
            for part in delta.get("tool_calls") or ():
                events += self._call(part)
        return events

    def _say(self, text: str) -> list[Event]:
        events: list[Event] = []
        logprobs, self._held = self._held, []
        if self._text is None:
            self._text = GrowingText(self._response_id, len(self._growing))
            self._growing.append(self._text)
            events += self._text.begin()
        return events + self._text.grow(text, logprobs)

    def _call(self, part: JsonObject) -> list[Event]:
        function = part["function"]
        events: list[Event] = []
        call = self._calls.get(part["index"])
        if call is None:
            if not part.get("id") or not function.get("name"):
                raise AnswerUnusable("the engine's stream goes on with a call that it did not begin")
            call = self._calls[part["index"]] = GrowingCall(self._response_id, len(self._growing), part["id"])
            self._growing.append(call)
            events += call.begin(function["name"])
        arguments = function.get("arguments")
        return events + call.grow(arguments) if arguments else events

    def _end(self) -> list[Event]:
        events: list[Event] = [] if self._growing else self._say("")[:2]  # nothing was said, in a message
        for growing in self._growing:
            events += growing.end(response.item_status(self._finish_reason))
        output = [growing.item for growing in self._growing]
        ended = response.end(self._begun, output, self._finish_reason, self._usage, int(self._clock()))
        return [*events, (ended["status"], {"response": ended})]

    def _write(self, event: Event) -> bytes:
        kind, said = f"response.{event[0]}", event[1]
        line = orjson.dumps({"type": kind, "sequence_number": self._number, **said})
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), line)
