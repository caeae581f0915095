"""The engine's stream of completions → OpenAI's, chunk by chunk."""

from inference.sse import EventSplitter
from server.completions.answer import Chunk, read_chunk, settle, write_chunk
from server.completions.request import CompletionRequest
from server.relay.accounts import Usage
from server.relay.answers import AnswerUnusable, Naming

_DONE = b"[DONE]"


class StreamRewriter:
    """Rewrites one stream as it comes, and knows what it has come to."""

    def __init__(self, naming: Naming, request: CompletionRequest) -> None:
        self._naming = naming
        self._request = request
        self._splitter = EventSplitter()
        self._prompt_tokens: dict[int, int] = {}  # by prompt, of those of which something was given on
        self._completion_tokens: dict[int, int] = {}  # by choice
        self.usage: Usage | None = None  # of the whole answer
        self.is_done = False

    def feed(self, chunk: bytes) -> bytes:
        """Give what can be sent on; may be empty.

        Raises:
            AnswerRefused: the engine says so.
            AnswerUnusable: the stream must not be taken for a whole answer.
        """
        return b"".join([self._rewrite(payload) for payload in self._splitter.feed(chunk)])

    def so_far(self) -> Usage | None:
        """Count what was given on, by the engine's own numbers; None before any."""
        if self.usage is not None:
            return self.usage
        if not self._completion_tokens:
            return None
        completion = sum(self._completion_tokens.values()) if self._request.generates else 0
        return Usage(sum(self._prompt_tokens.values()), completion)

    def _rewrite(self, payload: bytes) -> bytes:
        if payload == _DONE:
            if self.usage is None:
                raise AnswerUnusable("the engine's stream ended without saying what it came to")
            self.is_done = True
            return b"data: [DONE]\n\n"
        chunk = read_chunk(payload, self._naming)
        self._count(chunk)
        if not chunk.choices and not (chunk.usage and self._request.wants_usage):
            return b""
        return b"data: " + write_chunk(chunk, self._naming.asked, wants_usage=self._request.wants_usage) + b"\n\n"

    def _count(self, chunk: Chunk) -> None:
        if not chunk.usage:
            return
        if not chunk.choices:
            self.usage = settle(chunk.usage, generates=self._request.generates)
        for choice in chunk.choices:
            self._prompt_tokens[choice.index // self._request.n] = chunk.usage.prompt_tokens
            self._completion_tokens[choice.index] = chunk.usage.completion_tokens
