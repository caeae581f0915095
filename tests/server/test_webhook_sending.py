"""One try against receivers of all kinds: what is sent, to which address, and what is made of the answer."""

import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import openai
import pytest

from server.bootstrap import build_webhook_sender
from server.vocabulary import TryOutcome
from server.webhooks.outside.answer import MOST_BYTES
from server.webhooks.outside.sending import Sent
from server.webhooks.outside.urls import Policy
from server.webhooks.signing import Message, new_secret, signed_headers
from tests.running_api import make_settings
from tests.webhook_receiver import (
    CERTIFICATE,
    OK,
    Behave,
    Receiver,
    answering,
    closing,
    dripping,
    flooding,
    hanging,
    make_sender,
    status,
)

ANSWERS: dict[str, tuple[Behave, Sent]] = {
    "200": (answering(OK), Sent(TryOutcome.ANSWERED, 200)),
    "204": (status(204), Sent(TryOutcome.ANSWERED, 204)),
    "after 103": (
        answering(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK),
        Sent(TryOutcome.ANSWERED, 200),
    ),
    "of HTTP/1.0, ended by closing": (answering(b"HTTP/1.0 202 x\r\n\r\nsome"), Sent(TryOutcome.ANSWERED, 202)),
    "410": (status(410), Sent(TryOutcome.ANSWERED, 410)),
    "500": (status(500), Sent(TryOutcome.ANSWERED, 500)),
    "200 with a broken body": (
        answering(b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n"),
        Sent(TryOutcome.ANSWERED, 200),
    ),
    "nothing": (closing, Sent(TryOutcome.CLOSED)),
    "half a head": (answering(b"HTTP/1.1 200 OK\r\ncontent-"), Sent(TryOutcome.CLOSED)),
    "another protocol": (answering(b"SSH-2.0-OpenSSH_9.6\r\n"), Sent(TryOutcome.BROKEN_ANSWER)),
    "an upgrade": (
        answering(b"HTTP/1.1 101 x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nxx"),
        Sent(TryOutcome.BROKEN_ANSWER),
    ),
    "a head without an end": (
        answering(b"HTTP/1.1 200 OK\r\nx: " + b"x" * (MOST_BYTES + 16384)),
        Sent(TryOutcome.BROKEN_ANSWER),
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_judged_by_its_status_alone(name: str) -> None:
    behave, expected = ANSWERS[name]
    with Receiver([behave]) as receiver:
        sent = make_sender().send(receiver.url, {}, b"{}")

    assert sent == expected
    assert sent.is_delivered == (sent.status_code in (200, 202, 204))


@pytest.mark.parametrize("behave", [hanging, dripping(b"HTTP/1.1 200 OK\r\nx: ")], ids=["hangs", "drips"])
def test_a_receiver_has_its_time_and_no_more(behave: Behave) -> None:
    with Receiver([behave]) as receiver:
        began = time.monotonic()
        sent = make_sender(whole_s=0.2).send(receiver.url, {}, b"{}")
        took_s = time.monotonic() - began

    assert sent == Sent(TryOutcome.TIMED_OUT)
    assert took_s < 10


def test_a_time_that_is_over_while_the_name_is_looked_up_ends_the_try() -> None:
    moments = iter([0.0, 20.0])  # the beginning, and the end of the look-up
    with Receiver() as receiver:
        sender = make_sender(resolve=lambda _: ["127.0.0.1"], clock=lambda: next(moments), whole_s=20.0)
        sent = sender.send(f"http://hooks.example.com:{receiver.port}/", {}, b"{}")

    assert sent == Sent(TryOutcome.TIMED_OUT)
    assert receiver.received == []


def test_a_body_that_never_ends_is_left_at_a_bound() -> None:
    with Receiver([flooding]) as receiver:
        sent = make_sender().send(receiver.url, {}, b"{}")

        assert sent == Sent(TryOutcome.ANSWERED, 200)
        assert receiver.flooded_bytes < 20 * 1024**2  # what the kernel's buffers took


def test_a_body_that_drips_holds_nothing_up_once_the_status_is_said() -> None:
    with Receiver([dripping(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")]) as receiver:
        began = time.monotonic()
        sent = make_sender().send(receiver.url, {}, b"{}")

        assert sent == Sent(TryOutcome.ANSWERED, 200)
        assert time.monotonic() - began < 10


def test_a_redirect_is_a_failure_and_is_not_followed() -> None:
    with Receiver() as inside, Receiver([status(307, f"location: {inside.url}")]) as receiver:
        sent = make_sender().send(receiver.url, {}, b"{}")

    assert sent == Sent(TryOutcome.ANSWERED, 307)
    assert not sent.is_delivered
    assert inside.received == []


def test_a_port_where_nobody_listens_is_not_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert make_sender().send(f"http://127.0.0.1:{port}/", {}, b"{}") == Sent(TryOutcome.NOT_REACHED)


def test_a_name_that_means_another_address_at_delivery_is_not_sent_to() -> None:
    """Rebinding between the check of an endpoint and the delivery to it."""
    meanings = [["8.8.8.8"], ["127.0.0.1"]]
    with Receiver() as receiver:
        policy = Policy(allow_http=True)
        sender = make_sender(policy=policy, resolve=lambda _: meanings.pop(0))
        sender.check("http://rebinding.example.com/")
        sent = sender.send("http://rebinding.example.com/", {}, b"{}")

    assert sent == Sent(TryOutcome.NOT_ALLOWED)
    assert receiver.received == []


def test_a_name_is_looked_up_once_and_the_connection_goes_to_what_was_looked_at() -> None:
    """Rebinding between the check of an address and the connection to it: there is no second look-up."""
    asked: list[str] = []

    def resolve(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.9"]

    with Receiver() as receiver:
        sent = make_sender(resolve=resolve).send(f"http://hooks.example.com:{receiver.port}/a?b=c", {}, b"{}")

    assert sent.is_delivered
    assert asked == ["hooks.example.com"]
    assert receiver.received[0].line == "POST /a?b=c HTTP/1.1"
    assert receiver.received[0].headers["host"] == f"hooks.example.com:{receiver.port}"


def test_tls_is_with_the_name_while_the_connection_is_to_the_address() -> None:
    names: list[str | None] = []
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(CERTIFICATE)
    server.sni_callback = lambda _socket, name, _context: names.append(name)
    trusting = ssl.create_default_context(cafile=CERTIFICATE)
    with Receiver(tls=server) as receiver:
        send = make_sender(resolve=lambda _: ["127.0.0.1"], tls=trusting).send
        right = send(f"https://hooks.example.com:{receiver.port}/", {}, b"{}")
        wrong = send(f"https://other.example.com:{receiver.port}/", {}, b"{}")
        by_address = send(f"https://127.0.0.1:{receiver.port}/", {}, b"{}")

    assert right.is_delivered
    assert wrong == by_address == Sent(TryOutcome.NOT_TRUSTED)
    assert names[:2] == ["hooks.example.com", "other.example.com"]
    assert len(receiver.received) == 1


def test_a_certificate_of_nobody_known_is_not_trusted() -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(CERTIFICATE)
    with Receiver(tls=server) as receiver:
        sender = make_sender(resolve=lambda _: ["127.0.0.1"])

        assert sender.send(f"https://hooks.example.com:{receiver.port}/", {}, b"{}") == Sent(TryOutcome.NOT_TRUSTED)


def test_the_settings_decide_whether_this_machine_is_sent_to(tmp_path: Path) -> None:
    """By the names that it really looks up."""
    opened = make_settings(tmp_path, webhook_allow_private=True, webhook_allow_http=True)
    with Receiver() as receiver:
        url = f"http://localhost:{receiver.port}/"

        assert build_webhook_sender(opened).send(url, {}, b"{}").is_delivered
        assert build_webhook_sender(make_settings(tmp_path)).send(url, {}, b"{}") == Sent(TryOutcome.NOT_ALLOWED)


def test_the_next_address_is_tried_where_one_takes_no_connection() -> None:
    with Receiver() as receiver:
        sender = make_sender(resolve=lambda _: ["::1", "127.0.0.1"])

        assert sender.send(f"http://hooks.example.com:{receiver.port}/", {}, b"{}").is_delivered


def test_the_official_client_unwraps_what_arrives() -> None:
    first, second, unknown = new_secret(), new_secret(), new_secret()
    body = b'{"id":"evt_1","object":"event","created_at":1,"type":"fine_tuning.job.failed","data":{"id":"ftjob-1"}}'
    headers = signed_headers(Message("wh_1", body), [first, second], now=time.time())
    with Receiver() as receiver:
        make_sender().send(receiver.url, headers, body)
    (received,) = receiver.received

    unwrap: Callable[..., object] = partial(
        openai.OpenAI(api_key="x").webhooks.unwrap, received.body.decode(), received.headers
    )
    for secret in (first, second):
        event = unwrap(secret=secret)
        assert isinstance(event, openai.types.webhooks.FineTuningJobFailedWebhookEvent)
        assert event.data.id == "ftjob-1"
    with pytest.raises(openai.InvalidWebhookSignatureError):
        unwrap(secret=unknown)


def test_a_changed_body_is_not_unwrapped() -> None:
    secret = new_secret()
    headers = signed_headers(Message("wh_1", b"{}"), [secret], now=time.time())
    for body, changed in (("[]", {}), ("{}", {"webhook-id": "wh_2"}), ("{}", {"webhook-timestamp": "1"})):
        with pytest.raises(openai.InvalidWebhookSignatureError):
            openai.OpenAI(api_key="x").webhooks.verify_signature(body, headers | changed, secret=secret)
