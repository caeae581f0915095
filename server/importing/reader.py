"""Reads an account over HTTP: patient, and never with a request that could change anything."""

import json
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from server.importing.account import Account
from server.importing.back_off import wait_before_next
from server.importing.errors import ImportFailed, Refused

T = TypeVar("T")
Json = dict[str, Any]

_TIMEOUT_S = 60.0  # for one reading from the socket, not for an answer
_CHUNK_BYTES = 1024 * 1024
_ERROR_BYTES = 64 * 1024
_MESSAGE_CHARACTERS = 300
_FAULTS_IN_A_ROW = 3  # objects that could not be read however patiently: then it is not the objects


class _Broken(Exception):
    """There was no answer, or not all of it."""


class _Answered(Exception):
    """An answer that is not the one that was asked for."""

    def __init__(self, response: httpx.Response, message: str) -> None:
        super().__init__(response.status_code)
        self.status = response.status_code
        self.headers = response.headers
        self.message = message


class AccountReader:
    """`pause` waits for seconds. A redirect is not followed: the key would go with it."""

    def __init__(self, account: Account, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._account = account
        self._pause = pause
        try:
            self._client = httpx.Client(
                headers={**account.headers(), "User-Agent": "tunesmith-import"},
                timeout=_TIMEOUT_S,
                verify=ssl.create_default_context(),
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:  # whose words may hold a proxy's password
            raise ImportFailed(
                "the proxy of HTTPS_PROXY, HTTP_PROXY or ALL_PROXY cannot be used; use an HTTP proxy"
            ) from error
        self._faults = 0

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, query: dict[str, str] | None = None) -> Json:
        """Raises: Refused, ImportFailed."""

        def read(response: httpx.Response) -> Json:
            try:
                answer = json.loads(response.read())
            except ValueError as error:
                raise _Broken("its answer is not JSON") from error
            if not isinstance(answer, dict):
                raise _Broken("its answer is not an object")
            return answer

        return self._persist(path, query or {}, read)

    def pages(self, path: str, *, limit: int, **query: str) -> Iterator[Json]:
        """Every object of a list, over as many pages as it takes. Raises: Refused, ImportFailed."""
        after: str | None = None
        while True:
            page = self.get(path, {**query, "limit": str(limit)} | ({} if after is None else {"after": after}))
            data = page.get("data")
            rows = [row for row in data if isinstance(row, dict)] if isinstance(data, list) else []
            yield from rows
            last = rows[-1].get("id") if rows else None
            if page.get("has_more") is False or not isinstance(last, str):
                return
            if last == after:
                raise Refused(200, f"the list {path} does not end: it answers the same page again and again")
            after = last

    def download(self, path: str, receive: Callable[[Iterator[bytes]], T]) -> T:
        """Give the chunks of a body to `receive`; from the beginning again, where the connection breaks.

        Raises:
            Refused, ImportFailed, and what `receive` raises.
        """
        return self._persist(path, {}, lambda response: receive(response.iter_bytes(_CHUNK_BYTES)))

    def _persist(self, path: str, query: dict[str, str], read: Callable[[httpx.Response], T]) -> T:
        tries = 0
        while True:
            tries += 1
            try:
                answer = self._ask(path, query, read)
            except _Broken as broken:
                wait = wait_before_next(tries, None, {}, now=time.time())
                if wait is None:
                    raise self._unreachable(str(broken)) from broken
            except _Answered as answered:
                wait = wait_before_next(tries, answered.status, answered.headers, now=time.time())
                if wait is None:
                    raise self._refusal(answered, gave_up=tries > 1) from None
            else:
                self._faults = 0
                return answer
            self._pause(wait)

    def _ask(self, path: str, query: dict[str, str], read: Callable[[httpx.Response], T]) -> T:
        try:
            with self._client.stream("GET", self._account.base_url + path, params=query) as response:
                if response.status_code == 200:
                    return read(response)
                raise _Answered(response, _message(_first_bytes(response)))
        except httpx.TimeoutException as error:
            raise _Broken(f"no answer within {_TIMEOUT_S:g} s") from error
        except (httpx.RequestError, httpx.StreamError) as error:  # whose words may hold what was received
            raise _Broken(_describe(error)) from error

    def _unreachable(self, reason: str) -> Exception:
        return ImportFailed(f"{self._account.base_url} cannot be read: {reason}; run the same command again to go on")

    def _refusal(self, answered: _Answered, *, gave_up: bool) -> Exception:
        message = answered.message.replace(self._account.key, "…")
        if answered.status == 401 and "scope" not in message and "permission" not in message:
            return ImportFailed(f"{self._account.base_url} does not know the key in OPENAI_API_KEY (401)")
        self._faults = self._faults + 1 if gave_up else 0
        if self._faults >= _FAULTS_IN_A_ROW:
            return self._unreachable(f"it goes on answering {answered.status}: {message}")
        return Refused(answered.status, message)


def segment(text: str) -> str:
    """An id as one segment of a path."""
    return quote(text, safe="")


def _first_bytes(response: httpx.Response) -> bytes:
    body = b""
    for chunk in response.iter_bytes(_ERROR_BYTES):
        body += chunk
        if len(body) >= _ERROR_BYTES:
            break
    return body


def _describe(error: Exception) -> str:
    """In the system's words where there are some."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return "the connection broke off" if isinstance(error, httpx.ProtocolError) else "it cannot be connected to"


def _message(body: bytes) -> str:
    """The message of OpenAI's envelope, fit for a line of a terminal."""
    try:
        told = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return "no reason is given"
    shown = "".join(character if character.isprintable() else " " for character in str(told))
    return shown[:_MESSAGE_CHARACTERS]
