"""The engine's stream → OpenAI's, chunk by chunk: by bytes where they have the one shape known to be harmless.

Nearly every chunk of a stream differs from the one before in a few letters of text. Such a chunk is known by its bytes,
all of them: the head of this stream, learnt from a chunk that was parsed, and then nothing but what `_PLAIN` names.
Its text is taken over as it is written, whatever else it holds is left behind. Every other chunk is parsed and passes
through the allowlist of `answer`.
"""

import re
from typing import Any

import orjson

from inference.sse import EventSplitter
from server.chat.accounts import Usage
from server.chat.answer import AnswerRefused, AnswerUnusable, Json, Naming, chunk_head, read_usage, rewrite_chunk

_DONE = b"[DONE]"
_PLAIN = re.compile(
    rb'\{"index": ?(\d{1,4}), ?"delta": ?\{"content": ?'
    rb'("[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+")'
    rb'\}, ?"logprobs": ?null, ?"finish_reason": ?null(?:, ?"token_ids": ?(?:null|\[[0-9, ]*+\]))?\}\]'
    rb'(?:, ?"usage": ?(null|\{[^{}]*+\}))?\}'
)
_BETWEEN = b',"delta":{"content":'
_END = b'},"logprobs":null,"finish_reason":null}]}\n\n'
_END_BEFORE_USAGE = b'},"logprobs":null,"finish_reason":null}],"usage":null}\n\n'


class StreamRewriter:
    """Rewrites one stream as it comes, and knows what it has come to."""

    def __init__(self, naming: Naming, *, wants_usage: bool) -> None:
        self._naming = naming
        self._wants_usage = wants_usage
        self._splitter = EventSplitter()
        self._head: bytes | None = None  # of the engine's plain chunks; None: not learnt yet
        self._written_head = b""  # of ours
        self._end = _END_BEFORE_USAGE if wants_usage else _END
        self._usages: dict[bytes, bytes] = {}  # by choice, as the engine wrote them in the last chunk of each
        self.usage: Usage | None = None  # of the whole answer
        self.is_done = False

    def feed(self, chunk: bytes) -> bytes:
        """Give what can be sent on; may be empty.

        Raises:
            AnswerRefused: the engine says so.
            AnswerUnusable: the stream must not be taken for a whole answer.
        """
        written: list[bytes] = []
        for payload in self._splitter.feed(chunk):
            plain = None
            if self._head is not None and payload.startswith(self._head):
                plain = _PLAIN.fullmatch(payload, len(self._head))
            if plain is None:
                written.append(self._rewrite(payload))
            else:
                index, content, usage = plain.groups()
                written += (self._written_head, index, _BETWEEN, content, self._end)
                if usage is not None:
                    self._usages[index] = usage
        return b"".join(written)

    def so_far(self) -> Usage | None:
        """Count what was given on, by the engine's own numbers; None before any."""
        if self.usage is not None or not self._usages:
            return self.usage
        try:
            counts = [read_usage(orjson.loads(usage)) for usage in self._usages.values()]
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return Usage(counts[0].prompt_tokens, sum(count.completion_tokens for count in counts))

    def _rewrite(self, payload: bytes) -> bytes:
        if payload == _DONE:
            if self.usage is None:
                raise AnswerUnusable("the engine's stream ended without saying what it came to")
            self.is_done = True
            return b"data: [DONE]\n\n"
        try:
            event = orjson.loads(payload)
            if "error" in event:
                raise AnswerRefused(int(event["error"].get("code") or 500), payload)
            written = rewrite_chunk(event, self._naming, wants_usage=self._wants_usage)
            if event["choices"]:
                self._learn(payload, event)
            elif event.get("usage"):
                self.usage = read_usage(event["usage"])
                if not self._wants_usage:
                    return b""
            return b"data: " + written + b"\n\n"
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AnswerUnusable("the engine's stream has another form than expected") from error

    def _learn(self, payload: bytes, event: Json) -> None:
        usage = event.get("usage")
        if usage:
            self._usages[b"%d" % event["choices"][0]["index"]] = orjson.dumps(usage)
        if self._head is None and (head := _find_head(payload, event)) is not None:
            self._head = head
            written = orjson.dumps(chunk_head(event["id"], event["created"], self._naming.asked))
            self._written_head = b"data: " + written[:-1] + b',"choices":[{"index":'


def _find_head(payload: bytes, event: dict[str, Any] | Json) -> bytes | None:
    """Give the bytes before the first choice, if they say what the four fields of every chunk are, and nothing else."""
    at = payload.find(b'"choices"')
    start = payload.find(b"[", at) + 1
    if payload[at:start].replace(b" ", b"") != b'"choices":[':
        return None
    try:
        said = orjson.loads(payload[:at].rstrip(b", ") + b"}")
    except ValueError:
        return None
    known = {name: event.get(name) for name in ("id", "object", "created", "model")}
    return payload[:start] if said == known else None
