"""From a target to the addresses that may be connected to: looked up once, and all of them looked at."""

import socket
from collections.abc import Callable, Sequence

from server.webhooks.outside.addresses import Address, may_send_to, parse_address
from server.webhooks.outside.urls import Policy, Target

Resolve = Callable[[str], Sequence[str]]  # the addresses of a host as text; raises OSError: it has none


class AddressRefused(Exception):
    """One of the addresses of a host is not one that webhooks are sent to: then none is."""


def resolve_absolute(host: str) -> Sequence[str]:
    """Look a public name up as it stands: none of this machine's domains is tried behind it."""
    return _look_up(f"{host}.")


def resolve_local(host: str) -> Sequence[str]:
    """Look a name up as programs on this machine do."""
    return _look_up(host)


def find_addresses(target: Target, policy: Policy, resolve: Resolve) -> list[Address]:
    """Those to try, in order.

    Raises:
        AddressRefused, OSError: the host has no address.
    """
    if target.address is not None:
        return [target.address]  # looked at with its URL
    try:
        found = list(dict.fromkeys(parse_address(text) for text in resolve(target.host)))
    except ValueError as error:
        raise AddressRefused(target.host) from error
    if not all(may_send_to(address, allow_private=policy.allow_private) for address in found):
        raise AddressRefused(target.host)
    if not found:
        raise OSError("a name without an address")
    return found


def _look_up(name: str) -> Sequence[str]:
    try:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except UnicodeError as error:
        raise OSError("no name that can be looked up") from error
