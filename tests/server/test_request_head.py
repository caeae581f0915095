"""Which requests are known by the bytes of their head, and what is never taken for one."""

import pytest

from server.relay.request_head import Header, RequestHead

LINES = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer mine\r\n"
    b"Content-Length: 5\r\naccept: */*\r\n\r\n"
)
WHOLE = LINES + b"hello"


def head_of(request: bytes, *, method: bytes = b"POST", keep_alive: bool = True) -> RequestHead:
    lines = request.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    headers: list[Header] = []
    for line in lines:
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.strip()))
    return RequestHead(method, headers, keep_alive=keep_alive)


def remembering(request: bytes = WHOLE) -> RequestHead:
    head = head_of(request)
    assert head.remember(request)
    return head


@pytest.mark.parametrize("body", [b"", b"x", b"other", b"\r\n\r\n\r\n", b"y" * 70_000])
def test_a_head_is_known_again_before_a_body_of_any_length(body: bytes) -> None:
    request = LINES.replace(b": 5\r", b": %d\r" % len(body)) + body
    assert remembering().body_of(request) == body


def test_before_anything_is_remembered_nothing_is_known() -> None:
    assert head_of(WHOLE).body_of(WHOLE) is None


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        LINES,
        WHOLE[:-1],
        WHOLE[:40],
        WHOLE + b"x",
        WHOLE + WHOLE,
        WHOLE.replace(b"mine", b"yours"),
        WHOLE.replace(b"mine", b"Mine"),
        WHOLE.replace(b"POST", b"PUT "),
        WHOLE.replace(b"*/*", b"*/x"),
        WHOLE.replace(b"*/*\r\n", b"*/*\r\nexpect: 100-continue\r\n"),
        WHOLE.replace(b": 5\r", b": 5\r\ncontent-length: 5\r"),
        WHOLE.replace(b": 5\r", b": +5\r"),
        WHOLE.replace(b": 5\r", b": 5 \r"),
        WHOLE.replace(b": 5\r", b": 0x5\r"),
        WHOLE.replace(b": 5\r", b": \xb2\r"),
        WHOLE.replace(b": 5\r", b": \r"),
        WHOLE.replace(b": 5\r", b": 5\n"),
        WHOLE.replace(b": 5\r", b": 5,5\r"),
        WHOLE.replace(b": 5\r", b": 00000000000005\r"),
        WHOLE.replace(b"/v1/chat/completions", b"/v1/chat/completions?x"),
    ],
)
def test_what_differs_by_anything_but_the_length_is_left_to_the_parser(request_: bytes) -> None:
    assert remembering().body_of(request_) is None


@pytest.mark.parametrize(
    "request_",
    [
        LINES.replace(b"accept: */*", b"expect: 100-continue") + b"hello",
        LINES.replace(b"accept: */*", b"transfer-encoding: chunked") + b"hello",
        LINES.replace(b"accept: */*", b"upgrade: h2c") + b"hello",
        LINES.replace(b"accept: */*", b"content-length: 5") + b"hello",
        LINES.replace(b"Content-Length: 5\r\n", b"") + b"hello",
        LINES.replace(b"Content-Length: 5\r\n", b"x-content-length: 5\r\n") + b"hello",
        WHOLE + b"x",
        WHOLE[:-1],
        LINES[:-2],
    ],
)
def test_a_head_that_says_more_or_is_not_whole_is_not_remembered(request_: bytes) -> None:
    head = head_of(request_)
    assert not head.remember(request_)
    assert head.body_of(request_) is None


def test_a_head_that_ends_the_connection_or_is_no_post_is_not_remembered() -> None:
    assert not head_of(WHOLE, keep_alive=False).remember(WHOLE)
    assert not head_of(WHOLE, method=b"GET").remember(WHOLE)


def test_the_digest_is_of_the_credentials() -> None:
    mine, mine_again, yours = (head_of(WHOLE.replace(b"mine", key)) for key in (b"mine", b"mine", b"yours"))
    assert mine.digest == mine_again.digest != yours.digest
