"""What goes outside while a client waits: a look at a URL, a test delivery. As much at once as does no harm."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from server.errors import Busy, InvalidRequest
from server.ids import ProjectId, new_webhook_delivery_id, new_webhook_event_id
from server.vocabulary import TryOutcome, WebhookEventType
from server.webhooks.event import WebhookEvent, WebhookEventData
from server.webhooks.outside.sending import Sender
from server.webhooks.outside.urls import UrlRefused
from server.webhooks.signing import Message, signed_headers

_AT_ONCE = 8  # in one process: each holds a thread for as long as a receiver or a name server takes
_AT_ONCE_OF_ONE = 2  # of a project

_SAMPLES = {  # ids of objects that are not there
    "batch": "batch_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "fine_tuning.job": "ftjob-AAAAAAAAAAAAAAAAAAAAAAAA",
}
_REASONS = {
    TryOutcome.BROKEN_ANSWER: "What it answered is not HTTP.",
    TryOutcome.CLOSED: "It closed the connection before it had answered.",
    TryOutcome.NOT_ALLOWED: "Its URL is not one that webhooks are sent to.",
    TryOutcome.NOT_REACHED: "It takes no connection.",
    TryOutcome.NOT_RESOLVED: "Its host has no address.",
    TryOutcome.NOT_TRUSTED: "TLS did not come about: is its certificate valid for the host?",
    TryOutcome.TIMED_OUT: "It did not answer in time.",
}


class WebhookDesk:
    def __init__(self, sender: Sender, clock: Callable[[], float] = time.time) -> None:
        self._sender = sender
        self._clock = clock  # unix seconds
        self._lock = Lock()
        self._busy = Counter[ProjectId]()

    def check_url(self, project_id: ProjectId, url: str) -> None:
        """Raises: InvalidRequest: nothing is sent there; Busy."""
        with self._place(project_id):
            try:
                self._sender.check(url)
            except UrlRefused as error:
                raise InvalidRequest(f"Invalid 'url': {error}.", param="url", code="invalid_url") from error

    def send_test(self, project_id: ProjectId, url: str, secrets: list[str], type: WebhookEventType) -> int:
        """Send an event about an object that is not there; the status of the answer, whatever it is.

        Raises:
            InvalidRequest: no answer came; Busy.
        """
        now = self._clock()
        data = WebhookEventData(id=_SAMPLES[type.rpartition(".")[0]])
        event = WebhookEvent(id=new_webhook_event_id(), created_at=int(now), type=type, data=data)
        message = Message(new_webhook_delivery_id(), event.body())
        with self._place(project_id):
            sent = self._sender.send(url, signed_headers(message, secrets, now=now), message.body)
        if sent.status_code is None:
            raise InvalidRequest(
                f"The webhook endpoint gave no answer to the test. {_REASONS[sent.outcome]}", code="webhook_test_failed"
            )
        return sent.status_code

    @contextmanager
    def _place(self, project_id: ProjectId) -> Iterator[None]:
        with self._lock:
            if self._busy.total() >= _AT_ONCE or self._busy[project_id] >= _AT_ONCE_OF_ONE:
                raise Busy("Other requests of webhook endpoints are under way. Try again in a few seconds.")
            self._busy[project_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy[project_id] -= 1
