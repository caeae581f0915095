"""The engine's stream → OpenAI's, chunk by chunk: by bytes where they have the one shape known to be harmless.

Nearly every chunk of a stream differs from the one before in a few letters of text. Such a chunk is known by its bytes,
all of them: the head of this stream, learnt from a chunk that was parsed, and then nothing but what `_PLAIN` names.
Its text is taken over as it is written, whatever else it holds is left behind. Every other chunk is parsed and passes
through the allowlist of `answer`.
"""

import re

import msgspec
import orjson

from inference.sse import EventSplitter
from server.chat.answer import Chunk, count_tokens, read_chunk, read_usage, write_chunk
from server.relay.accounts import Usage
from server.relay.answers import AnswerUnusable, Naming

_DONE = b"[DONE]"
_PLAIN = re.compile(
    rb'\{"index":(\d{1,4}),"delta":\{"content":("[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+")\},'
    rb'"logprobs":null,"finish_reason":null(?:,"token_ids":(?:null|\[([0-9,]*+)\]))?\}\](?:,"usage":(null|\{[^{}]*+\}))?\}'
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
        self._prompt_tokens: int | None = None  # None: it is not counted by ids
        self._completion_tokens = 0  # by ids
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
                continue
            index, content, ids, usage = plain.groups()
            written += (self._written_head, index, _BETWEEN, content, self._end)
            if ids:
                self._completion_tokens += ids.count(b",") + 1
            elif usage is not None:
                self._usages[index] = usage
        return b"".join(written)

    def so_far(self) -> Usage | None:
        """Count what was given on, by the engine's own numbers; None before any."""
        if self.usage is not None:
            return self.usage
        if self._prompt_tokens is not None:
            return Usage(self._prompt_tokens, self._completion_tokens)
        counts = [count for usage in self._usages.values() if (count := read_usage(usage)) is not None]
        if not counts:
            return None
        return Usage(counts[0].prompt_tokens, sum(count.completion_tokens for count in counts))

    def _rewrite(self, payload: bytes) -> bytes:
        if payload == _DONE:
            if self.usage is None:
                raise AnswerUnusable("the engine's stream ended without saying what it came to")
            self.is_done = True
            return b"data: [DONE]\n\n"
        chunk = read_chunk(payload, self._naming)
        self._count(payload)
        if chunk.usage:
            if chunk.choices:
                self._usages[b"%d" % chunk.choices[0].index] = orjson.dumps(msgspec.to_builtins(chunk.usage))
            else:
                self.usage = chunk.usage.read()
                if not self._wants_usage:
                    return b""
        if self._head is None:
            self._learn(payload, chunk)
        if not chunk.says_something():
            return b""
        return b"data: " + write_chunk(chunk, self._naming.asked, wants_usage=self._wants_usage) + b"\n\n"

    def _count(self, payload: bytes) -> None:
        prompt, completion = count_tokens(payload)
        if prompt is not None:
            self._prompt_tokens = prompt  # each choice begins with it
        self._completion_tokens += completion

    def _learn(self, payload: bytes, chunk: Chunk) -> None:
        self._head = _find_head(payload)
        bare = Chunk(id=chunk.id, object="", created=chunk.created, model="", choices=[])
        written = write_chunk(bare, self._naming.asked, wants_usage=False)
        self._written_head = b"data: " + written[: written.rindex(b"]")] + b'{"index":'


def _find_head(payload: bytes) -> bytes | None:
    """Give the bytes before the first choice, if they hold the four fields of every chunk and nothing else."""
    at = payload.find(b'"choices"')
    start = payload.find(b"[", at) + 1
    if payload[at:start].replace(b" ", b"") != b'"choices":[':
        return None
    try:
        said = orjson.loads(payload[:at].rstrip(b", ") + b"}")
    except ValueError:
        return None
    return payload[:start] if said.keys() == {"id", "object", "created", "model"} else None
