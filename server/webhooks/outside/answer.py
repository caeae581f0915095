"""Reads of a receiver's answer what is needed: its status. The rest is read to a bound, and dropped."""

import httptools

MOST_BYTES = 64 * 1024  # of an answer, interim ones included


class BrokenAnswer(Exception):
    """What came is not an answer of HTTP/1, or too much of one."""


class AnswerReader:
    """Fed with bytes until it is content."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._n_bytes = 0
        self.status: int | None = None  # None: not known yet
        self.is_complete = False  # nothing more is of interest

    def feed(self, data: bytes) -> None:
        """Raises: BrokenAnswer. Not once the status is known: nothing behind it counts."""
        self._n_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self.status is None:
                raise BrokenAnswer("not an answer of HTTP") from error
            self.is_complete = True
        if self._n_bytes > MOST_BYTES:
            if self.status is None:
                raise BrokenAnswer("a head without an end")
            self.is_complete = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:  # before it may come what is only of the way, such as 103
            self.status = status

    def on_message_complete(self) -> None:
        self.is_complete = self.status is not None
