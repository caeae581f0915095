"""What the URL of a webhook may be (pure)."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import urlsplit

from server.webhooks.outside.addresses import Address, may_send_to

MAX_URL_LENGTH = 2048

_PLAIN = re.compile(r"""[!#-;=?-\[\]_a-z~]+""")  # printable ASCII without space " < > \ ^ ` { | }
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(:\d{1,5})?")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_MAX_HOST_LENGTH = 253
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_DEFAULT_PORTS = {"https": 443, "http": 80}
_PORTS = {"https": (443, 8443), "http": (80, 8080)}
# Names that mean the machine or its network, wherever they are looked up.
_LOCAL_NAMES = ("localhost", "localdomain", "local", "internal", "home.arpa")


@dataclass(frozen=True)
class Policy:
    """What the operator allows."""

    allow_private: bool = False  # private addresses, names without a dot, any port
    allow_http: bool = False


@dataclass(frozen=True)
class Target:
    """A URL, taken apart."""

    is_tls: bool
    host: str  # in small letters, without brackets or a dot at the end
    address: Address | None  # where the host is one
    port: int
    path: str  # with its query

    @property
    def authority(self) -> str:
        """The value of the header `Host`."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        return host if self.port == _DEFAULT_PORTS["https" if self.is_tls else "http"] else f"{host}:{self.port}"


class UrlRefused(Exception):
    """Nothing is sent there; the message says why, and quotes nothing."""


def parse_url(text: str, policy: Policy) -> Target:
    """Raises: UrlRefused."""
    if len(text) > MAX_URL_LENGTH or _PLAIN.fullmatch(text.lower()) is None:
        raise UrlRefused(f"it has to be at most {MAX_URL_LENGTH} characters of ASCII, encoded where it must be")
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        raise UrlRefused("it is not a URL") from error
    _check_scheme(parts.scheme, policy)
    if "@" in parts.netloc or "#" in text:
        raise UrlRefused("it has to be without a user name, a password and a fragment")
    if _AUTHORITY.fullmatch(parts.netloc) is None:
        raise UrlRefused("it is not a URL")
    host, address = _parse_host(host.removesuffix("."), parts.netloc.startswith("["), policy)
    if not _may_use(port, parts.scheme, policy):
        raise UrlRefused(f"its port has to be {' or '.join(map(str, _PORTS[parts.scheme]))}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme == "https", host, address, port or _DEFAULT_PORTS[parts.scheme], path)


def _check_scheme(scheme: str, policy: Policy) -> None:
    if scheme != "https" and not (scheme == "http" and policy.allow_http):
        raise UrlRefused("it has to begin with https://" + (" or http://" if policy.allow_http else ""))


def _may_use(port: int | None, scheme: str, policy: Policy) -> bool:
    return port is None or (port > 0 if policy.allow_private else port in _PORTS[scheme])


def _parse_host(host: str, is_bracketed: bool, policy: Policy) -> tuple[str, Address | None]:
    address = _parse_literal(host, is_bracketed)
    if address is not None:
        if not may_send_to(address, allow_private=policy.allow_private):
            raise UrlRefused("its address is not one that webhooks are sent to")
        return str(address), address
    if len(host) > _MAX_HOST_LENGTH or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise UrlRefused("its host is not a name")
    is_local = "." not in host or any(f".{host}".endswith(f".{name}") for name in _LOCAL_NAMES)
    if is_local and not policy.allow_private:
        raise UrlRefused("its host is a name of the local network")
    return host, None


def _parse_literal(host: str, is_bracketed: bool) -> Address | None:
    """None: a name. What some resolvers take for an address, such as 127.1 or 0x7f000001, is neither."""
    try:
        if is_bracketed:
            address = IPv6Address(host)
            if address.scope_id is not None:
                raise UrlRefused("its address has a zone")
            return address
        return IPv4Address(host) if _NUMBER.fullmatch(host.rpartition(".")[2]) else None
    except AddressValueError as error:
        raise UrlRefused("its host is neither a name nor an address as it is usually written") from error
