"""From the end of a job to its receivers: what is written with it, tried, tried again, logged and given up."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlmodel import col, select

from server.auth.api_keys import create_key
from server.bootstrap import Services, build_services
from server.db.project_session import project_session
from server.db.system_session import system_session
from server.db.tables import JobRow, WebhookDeliveryRow, WebhookEndpointRow
from server.fine_tuning.job_changes import fail
from server.fine_tuning.lifecycle import Fail
from server.ids import ProjectId
from server.sweeper import Sweeper
from server.vocabulary import DeliveryStatus, JobErrorCode, TryOutcome, WebhookEventType
from server.webhooks import service
from server.webhooks.delivering import repository
from server.webhooks.delivering.deliverer import Deliverer
from server.webhooks.delivering.repository import Claim
from server.webhooks.outbox import add_webhook_event
from server.webhooks.outside.sending import Sender, Sent
from server.webhooks.outside.urls import Policy
from server.webhooks.repository import count_deliveries
from server.webhooks.schemas import UpdateWebhookEndpointRequest
from server.webhooks.signing import OVERLAP_S, signed_headers
from tests.factories import make_webhook_endpoint
from tests.job_rig import Clock, MakeRig
from tests.running_api import make_settings
from tests.webhook_receiver import Received, Receiver, answering, hanging, make_sender, status

DAY_S = 24 * 3600.0
PATIENCE_S = 30.0
FAILED_JOB = Fail(JobErrorCode.INTERNAL_ERROR, "a fault")


@dataclass
class Post:
    """A home with a project, and deliveries whose clock is turned by hand."""

    services: Services
    project_id: ProjectId
    clock: Clock

    def deliverer(self, sender: Sender | None = None) -> Deliverer:
        return Deliverer(self.services.database, sender or make_sender(), clock=self.clock, chance=lambda: 0.5)

    def deliver(self, deliverer: Deliverer | None = None) -> None:
        """As far as it goes now."""
        deliverer = deliverer or self.deliverer()
        while repository.list_waiting(self.services.database, now=self.clock()):
            deliverer.tick()
            deliverer.settle(PATIENCE_S)

    def tell(self, object_id: str = "ftjob-1", *, project_id: ProjectId | None = None) -> None:
        with system_session(self.services.database, write=True) as session:
            add_webhook_event(
                session,
                WebhookEventType.JOB_SUCCEEDED,
                project_id=project_id or self.project_id,
                object_id=object_id,
                now=self.clock(),
            )

    def endpoint(self, receiver: Receiver, **asked: Any) -> WebhookEndpointRow:
        return make_webhook_endpoint(self.services, self.project_id, receiver.url, **asked)

    def other_project(self) -> ProjectId:
        key = create_key(self.services.database, "theirs").plaintext
        return self.services.authenticator.authenticate([(b"authorization", f"Bearer {key}".encode())]).project_id

    def log(self) -> list[WebhookDeliveryRow]:
        with system_session(self.services.database) as session:
            return list(session.exec(select(WebhookDeliveryRow).order_by(col(WebhookDeliveryRow.seq))))

    def only(self) -> WebhookDeliveryRow:
        (row,) = self.log()
        return row

    def claim_at(self, later_s: float) -> Claim:
        self.clock.now += later_s
        return self.claim()

    def claim(self) -> Claim:
        """As a worker does that is killed before it records what came of it."""
        waiting = repository.list_waiting(self.services.database, now=self.clock())
        (claimed,) = repository.claim(self.services.database, waiting, now=self.clock(), lease_s=40.0)
        return claimed


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    services = build_services(make_settings(tmp_path / "home"))
    yield Post(services, services.authenticator.default.project_id, Clock())
    services.database.dispose()


def is_signed_with(received: Received, secret: str) -> bool:
    """By the official client, whatever the time."""
    verify = openai.OpenAI(api_key="x").webhooks.verify_signature
    try:
        verify(received.body.decode(), received.headers, secret=secret, tolerance=10**10)
    except openai.InvalidWebhookSignatureError:
        return False
    return True


@pytest.mark.parametrize("ending", ["succeeded", "failed", "cancelled"])
def test_a_jobs_end_is_delivered_as_the_official_client_reads_it(make_rig: MakeRig, ending: str) -> None:
    rig = make_rig()
    rig.clock.now = time.time()
    with Receiver() as receiver:
        endpoint = make_webhook_endpoint(rig.services, rig.project_id, receiver.url)
        job = rig.make_job(**({"training_file": "file-gone"} if ending == "failed" else {}))
        if ending == "cancelled":
            rig.cancel(job)
        rig.finish(job)
        rig.clock.now = max(rig.clock.now, time.time())  # a client cancels at the time of day
        Post(rig.services, rig.project_id, rig.clock).deliver()
    (received,) = receiver.received

    event = openai.OpenAI(api_key="x").webhooks.unwrap(received.body.decode(), received.headers, secret=endpoint.secret)
    assert rig.job(job).status == ending
    assert event.type == f"fine_tuning.job.{ending}"
    assert event.data.id == job.id


def test_nothing_is_told_of_an_end_that_was_not_committed(make_rig: MakeRig) -> None:
    rig = make_rig()
    make_webhook_endpoint(rig.services, rig.project_id)
    job = rig.make_job()

    def break_off() -> None:
        with system_session(rig.services.database, write=True) as session:
            fail(session, session.get_one(JobRow, job.id), FAILED_JOB, now=rig.clock())
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert Post(rig.services, rig.project_id, rig.clock).log() == []


def test_only_endpoints_of_the_project_that_want_such_events_are_told(post: Post) -> None:
    theirs = post.other_project()
    with Receiver() as wanted, Receiver() as unwanted, Receiver() as foreign:
        post.endpoint(wanted, event_types=[WebhookEventType.JOB_SUCCEEDED])
        post.endpoint(unwanted, event_types=[WebhookEventType.JOB_FAILED])
        make_webhook_endpoint(post.services, theirs, foreign.url)
        post.tell()
        post.deliver()

    assert [len(receiver.received) for receiver in (wanted, unwanted, foreign)] == [1, 0, 0]


def test_two_endpoints_hear_of_one_event_each_with_a_delivery_of_its_own(post: Post) -> None:
    with Receiver() as first, Receiver() as second:
        post.endpoint(first)
        post.endpoint(second)
        post.tell()
        post.deliver()

    (one,), (other,) = first.received, second.received
    assert one.body == other.body
    assert one.headers["webhook-id"] != other.headers["webhook-id"]


def test_a_receiver_that_fails_is_told_again_later_under_the_same_id(post: Post) -> None:
    with Receiver([status(500), status(503), status(200)]) as receiver:
        post.endpoint(receiver)
        post.tell()
        for later_s, expected in ((0, 1), (4, 1), (1, 2), (29, 2), (1, 3), (DAY_S, 3)):
            post.clock.now += later_s
            post.deliver()
            assert len(receiver.received) == expected

    row = post.only()
    assert len({(received.headers["webhook-id"], received.body) for received in receiver.received}) == 1
    assert len({received.headers["webhook-signature"] for received in receiver.received}) == 3
    assert row.id == receiver.received[0].headers["webhook-id"]
    assert [one["status_code"] for one in row.tries] == [500, 503, 200]
    assert (row.status, row.due_at) == (DeliveryStatus.DELIVERED, None)


def test_an_event_nobody_takes_is_given_up_after_three_days(post: Post) -> None:
    with Receiver([status(410)]) as receiver:
        post.endpoint(receiver)
        post.tell()
        told_at = post.clock.now
        while (due_at := post.only().due_at) is not None:
            post.clock.now = max(due_at, post.clock.now)
            post.deliver()

    row = post.only()
    assert row.status == DeliveryStatus.FAILED
    assert 2.4 * DAY_S < post.clock.now - told_at <= 3 * DAY_S
    assert len(row.tries) == len(receiver.received) == row.n_tries
    assert count_deliveries(post.services.database) == {DeliveryStatus.FAILED: 1}


def test_a_receiver_that_hangs_delays_no_other(post: Post) -> None:
    theirs = post.other_project()
    with Receiver([hanging]) as stuck, Receiver() as healthy, Receiver() as foreign:
        post.endpoint(stuck)
        post.endpoint(healthy)
        make_webhook_endpoint(post.services, theirs, foreign.url)
        deliverer = post.deliverer()
        for number in range(3):
            post.tell(f"ftjob-{number}")
            post.tell(project_id=theirs)
        deadline = time.monotonic() + PATIENCE_S
        while min(len(healthy.received), len(foreign.received)) < 3:
            assert time.monotonic() < deadline
            deliverer.tick()
            deliverer.settle(0.02)
        assert len(stuck.received) == 2  # no more at once
        stuck.released.set()
        deliverer.settle(PATIENCE_S)


def test_what_was_sent_before_a_kill_and_not_recorded_is_sent_again_under_the_same_id(post: Post) -> None:
    with Receiver() as receiver:
        post.endpoint(receiver)
        post.tell()
        killed = post.claim()
        make_sender().send(
            killed.url, signed_headers(killed.message, killed.secrets, now=post.clock()), killed.message.body
        )
        post.deliver()
        assert len(receiver.received) == 1  # the lease of the killed one holds
        post.clock.now += 40
        post.deliver()

    first, second = receiver.received
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert [one["outcome"] for one in post.only().tries] == [None, "answered"]


def test_what_comes_of_a_try_whose_lease_is_over_is_not_written_down(post: Post) -> None:
    with Receiver([hanging]) as receiver:
        post.endpoint(receiver)
        post.tell()
        slow = post.claim()
        post.clock.now += 40
        other = post.claim()
        repository.record(
            post.services.database, slow, Sent(TryOutcome.ANSWERED, 200), now=post.clock(), next_try_at=lambda: None
        )

    row = post.only()
    assert (row.status, row.n_tries, other.number) == (DeliveryStatus.PENDING, 2, 2)


def test_of_two_workers_one_sends(post: Post) -> None:
    with Receiver() as receiver:
        post.endpoint(receiver)
        post.tell()
        deliverers = [post.deliverer(), post.deliverer()]
        threads = [threading.Thread(target=post.deliver, args=(deliverer,)) for deliverer in deliverers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(receiver.received) == 1


def test_a_flood_to_one_endpoint_is_sent_two_at_a_time(post: Post) -> None:
    with Receiver() as receiver:
        post.endpoint(receiver)
        for number in range(7):
            post.tell(f"ftjob-{number}")
        deliverer = post.deliverer()
        deliverer.tick()
        deliverer.settle(PATIENCE_S)
        assert len(receiver.received) == 2
        post.deliver(deliverer)

    assert sorted(json.loads(one.body)["data"]["id"] for one in receiver.received) == [f"ftjob-{n}" for n in range(7)]


def test_a_deleted_endpoint_is_told_nothing_more(post: Post) -> None:
    with Receiver([status(500)]) as receiver:
        endpoint = post.endpoint(receiver)
        post.tell()
        post.deliver()
        under_way = post.claim_at(60)
        with project_session(post.services.database, post.project_id, write=True) as session:
            service.delete_endpoint(session, endpoint.id)
        post.clock.now += DAY_S
        post.deliver()
        repository.record(
            post.services.database, under_way, Sent(TryOutcome.ANSWERED, 200), now=0.0, next_try_at=lambda: None
        )

    assert len(receiver.received) == 1
    assert post.log() == []


def test_a_changed_url_receives_what_is_outstanding(post: Post) -> None:
    with Receiver([status(500)]) as old, Receiver() as new:
        endpoint = post.endpoint(old)
        post.tell()
        post.deliver()
        with project_session(post.services.database, post.project_id, write=True) as session:
            asked = UpdateWebhookEndpointRequest(url=new.url)
            service.update_endpoint(session, endpoint.id, asked, now=post.clock())
        post.clock.now += 10
        post.deliver()

    assert (len(old.received), len(new.received)) == (1, 1)


def test_both_secrets_sign_for_a_day_after_a_rotation(post: Post) -> None:
    with Receiver() as receiver:
        old = post.endpoint(receiver)
        with project_session(post.services.database, post.project_id, write=True) as session:
            new = service.rotate_secret(session, old.id, keep_old=True, now=post.clock())
        for later_s in (0, OVERLAP_S - 1, 1):
            post.clock.now += later_s
            post.tell()
            post.deliver()

    assert [is_signed_with(one, new.secret) for one in receiver.received] == [True, True, True]
    assert [is_signed_with(one, old.secret) for one in receiver.received] == [True, True, False]


def test_a_rotation_that_keeps_nothing_ends_every_older_secret(post: Post) -> None:
    with Receiver() as receiver:
        first = post.endpoint(receiver)
        with project_session(post.services.database, post.project_id, write=True) as session:
            second = service.rotate_secret(session, first.id, keep_old=True, now=post.clock()).secret
        with project_session(post.services.database, post.project_id, write=True) as session:
            third = service.rotate_secret(session, first.id, keep_old=False, now=post.clock()).secret
        post.tell()
        post.deliver()

    (received,) = receiver.received
    assert [is_signed_with(received, one) for one in (first.secret, second, third)] == [False, False, True]


def test_nothing_goes_to_a_name_that_means_a_private_address_by_now(post: Post) -> None:
    with Receiver() as receiver:
        make_webhook_endpoint(post.services, post.project_id, f"http://hooks.example.com:{receiver.port}/")
        post.tell()
        policy = Policy(allow_http=True)
        post.deliver(post.deliverer(make_sender(policy=policy, resolve=lambda _: ["127.0.0.1"])))

    assert receiver.received == []
    assert [one["outcome"] for one in post.only().tries] == ["not_allowed"]


def test_neither_log_holds_what_a_receiver_says(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said = b"HTTP/1.1 500 a-secret\r\nx-said: a-secret\r\ncontent-length: 8\r\n\r\na-secret"
    with Receiver([answering(said)]) as receiver:
        post.endpoint(receiver)
        post.tell()
        post.deliver()

    assert "a-secret" not in caplog.text
    assert "a-secret" not in json.dumps(post.only().tries)


def test_it_delivers_until_it_is_told_to_stop_and_does_not_wait_for_a_receiver_that_hangs(post: Post) -> None:
    stop = threading.Event()
    post.clock.now = time.time()
    with Receiver([status(200), hanging]) as receiver:
        post.endpoint(receiver)
        post.tell()
        thread = threading.Thread(target=post.deliverer().run, args=(stop,), kwargs={"patience_s": 0.1})
        thread.start()
        try:
            receiver.wait()
            post.tell()
            receiver.wait()
        finally:
            stop.set()
            thread.join(20)
        assert not thread.is_alive()


def test_what_has_ended_is_in_the_log_for_a_month(post: Post) -> None:
    with Receiver() as receiver:
        post.endpoint(receiver)
        post.tell("ftjob-delivered")
        post.deliver()
    post.tell("ftjob-pending")

    def left(later_s: float) -> list[str]:
        sweeper = Sweeper(
            post.services.database,
            post.services.blobs,
            post.services.tokens,
            post.services.settings,
            lambda: post.clock() + later_s,
        )
        sweeper.sweep_expired()
        return [row.object_id for row in post.log()]

    assert left(30 * DAY_S - 1) == ["ftjob-delivered", "ftjob-pending"]
    assert left(30 * DAY_S) == ["ftjob-pending"]
