"""Which addresses webhooks are sent to (pure)."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

_V4_PRIVATE = [
    IPv4Network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",  # of carriers, and of clouds
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
    )
]
_V4_NEVER = [
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # 0.0.0.0 is this machine
        "100.100.100.200/32",  # Alibaba's metadata, among the private ones
        "168.63.129.16/32",  # Azure's, among the public ones
        "169.254.0.0/16",  # link-local; the metadata of most clouds
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
]
_V6_PRIVATE = [IPv6Network("::1/128"), IPv6Network("fc00::/7")]
_V6_METADATA = [IPv6Network("fd00:ec2::254/128"), IPv6Network("fd20:ce::254/128")]  # Amazon's, Google's
_V6_PUBLIC = IPv6Network("2000::/3")
_V6_NOT_PUBLIC = [
    IPv6Network(text)
    for text in (
        "2001::/23",  # of protocols: Teredo, benchmarks, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4: any IPv4 address in it
        "3fff::/20",
    )
]
_V6_HOLDS_V4 = [IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96")]  # mapped; NAT64


def parse_address(text: str) -> Address:
    """As a resolver writes it. Raises: ValueError: none, or one with a zone."""
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError(text)
    return address


def may_send_to(address: Address, *, allow_private: bool) -> bool:
    """Whether it is public; or private, where that is allowed. Link-local, multicast and metadata never are."""
    if isinstance(address, IPv4Address):
        return not _is_in(address, _V4_NEVER) and (allow_private or not _is_in(address, _V4_PRIVATE))
    if _is_in(address, _V6_HOLDS_V4):
        return may_send_to(IPv4Address(int(address) & 0xFFFFFFFF), allow_private=allow_private)
    if _is_in(address, _V6_PRIVATE):
        return allow_private and not _is_in(address, _V6_METADATA)
    return address in _V6_PUBLIC and not _is_in(address, _V6_NOT_PUBLIC)


def _is_in(address: Address, networks: list[IPv4Network] | list[IPv6Network]) -> bool:
    return any(address in network for network in networks)
