"""One POST to a receiver, over a connection of its own to an address that was looked at."""

import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from server.vocabulary import TryOutcome
from server.webhooks.outside.addresses import Address
from server.webhooks.outside.answer import AnswerReader, BrokenAnswer
from server.webhooks.outside.resolving import AddressRefused, Resolve, find_addresses
from server.webhooks.outside.urls import Policy, Target, UrlRefused, parse_url

_READ_BYTES = 16 * 1024


@dataclass(frozen=True)
class Limits:
    whole_s: float  # from the look-up of the name to the status
    connect_s: float  # to one address
    rest_s: float = 1.0  # for what follows the status, so that the receiver can end its answer


@dataclass(frozen=True)
class Sent:
    """What came of it."""

    outcome: TryOutcome
    status_code: int | None = None

    @property
    def is_delivered(self) -> bool:
        """Only 2xx is; a redirect is not followed."""
        return self.status_code is not None and 200 <= self.status_code < 300


class Sender:
    """Holds no connection: what is sent is rare, and a connection that is kept was looked at too long ago."""

    def __init__(
        self,
        policy: Policy,
        resolve: Resolve,
        limits: Limits,
        *,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self._policy = policy
        self._resolve = resolve
        self._tls = tls or ssl.create_default_context()
        self._clock = clock

    def check(self, url: str) -> None:
        """Refuse what could never be sent to. A host without an address now may have one later.

        Raises:
            UrlRefused.
        """
        target = parse_url(url, self._policy)
        try:
            find_addresses(target, self._policy, self._resolve)
        except AddressRefused as error:
            raise UrlRefused("an address of its host is not one that webhooks are sent to") from error
        except OSError:
            return

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        """Nothing of the answer is kept but its status."""
        deadline = self._clock() + self.limits.whole_s
        try:
            target = parse_url(url, self._policy)
            addresses = find_addresses(target, self._policy, self._resolve)
        except (UrlRefused, AddressRefused):
            return Sent(TryOutcome.NOT_ALLOWED)
        except OSError:
            return Sent(TryOutcome.NOT_RESOLVED)
        try:
            with self._connect(target, addresses, deadline) as connection:
                return self._exchange(connection, _request(target, headers, body), deadline)
        except TimeoutError:
            return Sent(TryOutcome.TIMED_OUT)
        except _NotTrusted:
            return Sent(TryOutcome.NOT_TRUSTED)
        except BrokenAnswer:
            return Sent(TryOutcome.BROKEN_ANSWER)
        except _NotReached:
            return Sent(TryOutcome.NOT_REACHED)
        except OSError:
            return Sent(TryOutcome.CLOSED)

    def _connect(self, target: Target, addresses: Sequence[Address], deadline: float) -> socket.socket:
        """The first address that answers. The certificate has to be the name's, whatever its address."""
        plain = self._connect_to_any(addresses, target.port, deadline)
        if not target.is_tls:
            return plain
        try:
            plain.settimeout(self._left(deadline))
            return self._tls.wrap_socket(plain, server_hostname=target.host)
        except TimeoutError:
            plain.close()
            raise
        except (OSError, ValueError) as error:  # ValueError: a name that TLS cannot hold
            plain.close()
            raise _NotTrusted from error

    def _connect_to_any(self, addresses: Sequence[Address], port: int, deadline: float) -> socket.socket:
        failure: OSError = TimeoutError()
        for address in addresses:
            try:
                limit_s = min(self.limits.connect_s, self._left(deadline))
                return socket.create_connection((str(address), port), timeout=limit_s)
            except OSError as error:
                failure = error
        raise failure if isinstance(failure, TimeoutError) else _NotReached from failure

    def _exchange(self, connection: socket.socket, request: bytes, deadline: float) -> Sent:
        connection.settimeout(self._left(deadline))
        connection.sendall(request)
        reader = AnswerReader()
        while reader.status is None:
            connection.settimeout(self._left(deadline))
            data = connection.recv(_READ_BYTES)
            if not data:
                return Sent(TryOutcome.CLOSED)
            reader.feed(data)
        self._read_rest(connection, reader)
        return Sent(TryOutcome.ANSWERED, reader.status)

    def _read_rest(self, connection: socket.socket, reader: AnswerReader) -> None:
        deadline = self._clock() + self.limits.rest_s
        try:
            while not reader.is_complete:
                connection.settimeout(self._left(deadline))
                data = connection.recv(_READ_BYTES)
                if not data:
                    return
                reader.feed(data)
        except OSError:
            return  # the status has been said

    def _left(self, deadline: float) -> float:
        left = deadline - self._clock()
        if left <= 0:
            raise TimeoutError
        return left


class _NotReached(Exception):
    """No address took a connection."""


class _NotTrusted(Exception):
    """TLS did not come about."""


def _request(target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    every = {
        "host": target.authority,
        "user-agent": "Tunesmith-Webhooks/1",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "accept": "*/*",
        "connection": "close",
        **headers,
    }
    lines = [f"POST {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in every.items()), "", ""]
    return "\r\n".join(lines).encode("ascii") + body
