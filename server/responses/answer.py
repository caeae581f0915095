"""The engine's whole answer to a chat → a response (pure)."""

import orjson

from server.chat.answer import rewrite_answer
from server.relay.accounts import Usage
from server.relay.answers import Naming
from server.relay.fields import JsonObject
from server.responses import response
from server.responses.request import ResponseRequest
from server.vocabulary import ResponseStatus


def rewrite(raw: bytes, naming: Naming, request: ResponseRequest, now: int) -> tuple[bytes, Usage]:
    """Give a response, and what it came to.

    Raises:
        AnswerUnusable: nothing of it may be shown.
    """
    rewritten, usage = rewrite_answer(raw, naming)
    chat = orjson.loads(rewritten)
    choice = chat["choices"][0]
    begun = response.begin(request, ResponseStatus.IN_PROGRESS)
    ended = response.end(begun, _output(choice, request), choice["finish_reason"], chat["usage"], now)
    return orjson.dumps(ended), usage


def final_response(given: bytes, *, streamed: bool) -> JsonObject:
    """Read the response out of all that the client is sent: of a stream, its last event holds it."""
    if not streamed:
        whole: JsonObject = orjson.loads(given)
        return whole
    last: JsonObject = orjson.loads(given[given.rindex(b"\ndata: ") + 7 :])["response"]
    return last


def _output(choice: JsonObject, request: ResponseRequest) -> list[JsonObject]:
    message = choice["message"]
    calls = message.get("tool_calls") or []
    status = response.item_status(choice["finish_reason"])
    output: list[JsonObject] = []
    if message["content"] or not calls:
        logprobs = response.read_logprobs(choice["logprobs"]) if request.wants_logprobs else []
        part = response.text_part(message["content"] or "", logprobs)
        output.append(response.message_item(request.id, 0, status, [part]))
    for call in calls:
        called = (call["id"], call["function"]["name"], call["function"]["arguments"])
        output.append(response.call_item(request.id, len(output), status, called))
    return output
