"""The head of a chat request as the connection's parser read it, and how the next one like it is known by its bytes.

A client sends the same head again and again on a connection, but for the length of the body. Bytes that were parsed
once mean the same when they come again, so that only the length is left to be read.
"""

import re

from server.auth.authenticator import credentials_digest

Header = tuple[bytes, bytes]
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]{1,9})\r\n", re.IGNORECASE)
_END = b"\r\n\r\n"
_ONLY_ONCE = frozenset({b"transfer-encoding", b"expect", b"upgrade"})  # with one of these there is more to a head


class RequestHead:
    """A head, and what is remembered with it."""

    __slots__ = ("_after", "_before", "_digest", "expects_continue", "headers", "keep_alive", "method")

    def __init__(
        self, method: bytes, headers: list[Header], *, keep_alive: bool, expects_continue: bool = False
    ) -> None:
        self.method = method
        self.headers = headers  # names in lower case
        self.keep_alive = keep_alive
        self.expects_continue = expects_continue
        self._digest: bytes | None = None
        self._before = self._after = b""  # the digits of the length; nothing: it is not known by its bytes

    @property
    def digest(self) -> bytes:
        """Of the credentials."""
        if self._digest is None:
            self._digest = credentials_digest(self.headers)
        return self._digest

    def remember(self, request: bytes) -> bool:
        """Learn the bytes of it from a whole request; False: it is none that can be known again."""
        end = request.find(_END) + len(_END)
        lengths = list(_LENGTH.finditer(request, 0, end))
        names = [name for name, _ in self.headers]
        is_plain = self.method == b"POST" and self.keep_alive and _ONLY_ONCE.isdisjoint(names)
        if not is_plain or len(lengths) != 1 or names.count(b"content-length") != 1:
            return False
        if int(lengths[0][1]) != len(request) - end:
            return False
        self._before, self._after = request[: lengths[0].start(1)], request[lengths[0].end(1) : end]
        return True

    def body_of(self, request: bytes) -> bytes | None:
        """Give the body of a whole request that has this head; None: it has another, or is not just that."""
        start = len(self._before)
        if not start or not request.startswith(self._before):
            return None
        at = request.find(b"\r", start, start + 10)
        end = at + len(self._after)
        digits = request[start:at]
        if not request.startswith(self._after, at) or not digits.isdigit() or int(digits) != len(request) - end:
            return None
        return request[end:]
