"""Where webhooks never go: by the URL alone, and by what its host's name stands for."""

import pytest

from server.vocabulary import TryOutcome
from server.webhooks.outside.addresses import may_send_to, parse_address
from server.webhooks.outside.resolving import AddressRefused, find_addresses
from server.webhooks.outside.urls import MAX_URL_LENGTH, Policy, UrlRefused, parse_url
from tests.webhook_receiver import make_sender

REFUSED_URLS = [
    # schemes
    "http://example.com/",
    "ftp://example.com/",
    "file://example.com/etc/passwd",
    "gopher://example.com/",
    "dict://example.com:11211/",
    "ws://example.com/",
    "javascript:alert(1)",
    "data:text/plain,x",
    "//example.com/",
    "example.com/hook",
    "https:example.com",
    "https:/example.com",
    "https://",
    "https:///path",
    "",
    # names of this machine and its network
    "https://localhost/",
    "https://LOCALHOST/",
    "https://localhost./",
    "https://a.localhost/",
    "https://localhost.localdomain/",
    "https://metadata/",
    "https://metadata.google.internal/",
    "https://instance-data.ec2.internal/",
    "https://printer.local/",
    "https://nas.home.arpa/",
    "https://kubernetes.default.svc.cluster.local/",
    # addresses as they are usually written
    "https://127.0.0.1/",
    "https://127.0.0.1./",
    "https://127.255.255.254/",
    "https://0.0.0.0/",
    "https://0.1.2.3/",
    "https://10.0.0.1/",
    "https://100.64.0.1/",
    "https://100.100.100.200/",
    "https://169.254.169.254/latest/meta-data/",
    "https://169.254.170.2/",
    "https://168.63.129.16/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.0.0.192/",
    "https://192.0.2.1/",
    "https://192.88.99.1/",
    "https://192.168.1.1/",
    "https://198.18.0.1/",
    "https://198.51.100.7/",
    "https://203.0.113.7/",
    "https://224.0.0.1/",
    "https://239.255.255.250/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    # and as they are not
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0X7F.1/",
    "https://017700000001/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://10.1/",
    "https://0/",
    "https://127.0.0.1.1/",
    "https://127.000.000.001/",
    "https://169.254.43518/",
    "https://256.256.256.256/",
    "https://example.127/",
    "https://example.0x7f/",
    # IPv6
    "https://[::1]/",
    "https://[::]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::127.0.0.1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::ffff:169.254.169.254]/",
    "https://[::ffff:0:127.0.0.1]/",
    "https://[64:ff9b::10.0.0.1]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[64:ff9b:1::1]/",
    "https://[2002:7f00:1::]/",
    "https://[2002:808:808::1]/",
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "https://[2001:db8::1]/",
    "https://[3fff::1]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://[fec0::1]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fd20:ce::254]/",
    "https://[ff02::1]/",
    "https://[100::1]/",
    "https://[5f00::1]/",
    "https://[v1.fe80]/",
    "https://[127.0.0.1]/",
    "https://[2606:4700::1111]evil.com/",
    "https://[2606:4700::1111/",
    "https://::1/",
    # what hides a host
    "https://user@example.com/",
    "https://user:secret@example.com/",
    "https://example.com@127.0.0.1/",
    "https://example.com:443@127.0.0.1/",
    "https://127.0.0.1\\@example.com/",
    "https://127.0.0.1#@example.com/",
    "https://127.0.0.1%23@example.com/",
    "https://example.com#fragment",
    "https://example.com\\.evil.com/",
    "https://127%2e0%2e0%2e1/",
    "https://%6cocalhost/",
    "https://①②⑦.⓪.⓪.①/",
    "https://\uff4cocalhost/",
    "https://127。0。0。1/",
    "https://bücher.example/",
    "https://example.com\r\nHost: localhost/",
    "https://example.com/\r\nx: y",
    "https://exam ple.com/",
    "https://example.com/a b",
    "https://example.com\t/",
    "https://example.com/\x00",
    "https://example..com/",
    "https://.example.com/",
    "https://-example.com/",
    "https://" + "a" * 64 + ".com/",
    "https://" + "a." * 130 + "com/",
    "https://example.com/" + "a" * MAX_URL_LENGTH,
    # ports
    "https://example.com:22/",
    "https://example.com:25/",
    "https://example.com:80/",
    "https://example.com:6379/",
    "https://example.com:0/",
    "https://example.com:/",
    "https://example.com:65536/",
    "https://example.com:443x/",
    "https://example.com:-1/",
    "https://example.com:4 43/",
]
ALLOWED_URLS = [
    ("https://example.com", "example.com", 443, "/", "example.com"),
    ("https://example.com/", "example.com", 443, "/", "example.com"),
    ("HTTPS://Hooks.Example.COM./a/B?c=D", "hooks.example.com", 443, "/a/B?c=D", "hooks.example.com"),
    ("https://example.com:443/", "example.com", 443, "/", "example.com"),
    ("https://example.com:8443/", "example.com", 8443, "/", "example.com:8443"),
    ("https://example.com?a=b", "example.com", 443, "/?a=b", "example.com"),
    ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443, "/", "xn--bcher-kva.example"),
    ("https://my_service.example.com/%20", "my_service.example.com", 443, "/%20", "my_service.example.com"),
    ("https://10.example.com/", "10.example.com", 443, "/", "10.example.com"),
    ("https://8.8.8.8/", "8.8.8.8", 443, "/", "8.8.8.8"),
    ("https://[2606:4700:0::1111]:8443/", "2606:4700::1111", 8443, "/", "[2606:4700::1111]:8443"),
]
REFUSED_ADDRESSES = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "168.63.129.16", "169.254.169.254", "172.20.0.1", "192.168.0.10",
    "224.0.0.251", "255.255.255.255", "::1", "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1",
    "64:ff9b::127.0.0.1", "64:ff9b:1::808:808", "2002:7f00:1::1", "2001::1", "fe80::1", "fe80::1%2", "fc00::1",
    "fd00:ec2::254", "ff02::1", "not an address",
]  # fmt: skip
NEVER = [
    "0.0.0.0", "169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "224.0.0.1", "255.255.255.255",
    "::", "fe80::1", "fd00:ec2::254", "fd20:ce::254", "ff02::1", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::",
]  # fmt: skip


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_a_url_is_refused(url: str) -> None:
    with pytest.raises(UrlRefused):
        parse_url(url, Policy())


@pytest.mark.parametrize(("url", "host", "port", "path", "authority"), ALLOWED_URLS)
def test_a_url_is_taken_apart(url: str, host: str, port: int, path: str, authority: str) -> None:
    target = parse_url(url, Policy())

    assert (target.host, target.port, target.path, target.authority) == (host, port, path, authority)


@pytest.mark.parametrize("url", ["http://a.example.com/", "https://10.0.0.1/", "https://hooks/", "https://a.io:9999/"])
def test_only_a_setting_opens_http_and_the_local_network(url: str) -> None:
    with pytest.raises(UrlRefused):
        parse_url(url, Policy())

    assert parse_url(url, Policy(allow_private=True, allow_http=True)).host


@pytest.mark.parametrize("address", NEVER)
def test_no_setting_opens_link_local_multicast_and_metadata_addresses(address: str) -> None:
    assert not may_send_to(parse_address(address), allow_private=True)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_a_public_address_is_one_in_whichever_form(address: str) -> None:
    assert may_send_to(parse_address(address), allow_private=False)


@pytest.mark.parametrize("address", REFUSED_ADDRESSES)
def test_a_name_is_refused_for_any_one_of_its_addresses(address: str) -> None:
    target = parse_url("https://example.com/", Policy())
    with pytest.raises(AddressRefused):
        find_addresses(target, Policy(), lambda _: ["8.8.8.8", address])
    sender = make_sender(policy=Policy(), resolve=lambda _: ["8.8.8.8", address])

    with pytest.raises(UrlRefused, match="address"):
        sender.check("https://example.com/")
    assert sender.send("https://example.com/", {}, b"").outcome == TryOutcome.NOT_ALLOWED


def test_a_name_without_an_address_now_may_have_one_later() -> None:
    sender = make_sender(policy=Policy())

    sender.check("https://example.com/")
    assert sender.send("https://example.com/", {}, b"").outcome == TryOutcome.NOT_RESOLVED
