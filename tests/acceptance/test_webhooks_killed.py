"""The worker is killed, and stopped, while a receiver holds its webhook: it is delivered all the same, once more."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlmodel import select

from server.bootstrap import Services, build_services
from server.db.system_session import system_session
from server.db.tables import WebhookDeliveryRow
from server.vocabulary import DeliveryStatus, WebhookEventType
from server.webhooks.outbox import add_webhook_event
from tests.factories import make_webhook_endpoint
from tests.running_api import make_settings
from tests.service import ROOT
from tests.webhook_receiver import Receiver, hanging, status

pytestmark = [pytest.mark.service, pytest.mark.timeout(120)]


@contextmanager
def worker(services: Services) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "server", "worker"],
        cwd=ROOT,
        env={**os.environ, **services.settings.environment()},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def delivery(services: Services) -> WebhookDeliveryRow:
    with system_session(services.database) as session:
        return session.exec(select(WebhookDeliveryRow)).one()


def end_the_lease(services: Services) -> None:
    """As time does."""
    with system_session(services.database, write=True) as session:
        session.exec(select(WebhookDeliveryRow)).one().due_at = time.time()


def test_a_webhook_outlives_the_worker_that_sends_it(tmp_path: Path) -> None:
    services = build_services(make_settings(tmp_path, webhook_allow_private=True, webhook_allow_http=True))
    project_id = services.authenticator.default.project_id
    with Receiver([hanging, hanging, status(204)]) as receiver:
        make_webhook_endpoint(services, project_id, receiver.url)
        with system_session(services.database, write=True) as session:
            event = WebhookEventType.JOB_SUCCEEDED
            add_webhook_event(session, event, project_id=project_id, object_id="ftjob-1", now=time.time())
        with worker(services) as process:
            receiver.wait()
            process.kill()
        end_the_lease(services)
        with worker(services) as process:
            receiver.wait()
            process.terminate()
            assert process.wait(30) == 0  # though the receiver hangs
        end_the_lease(services)
        with worker(services):
            receiver.wait()
            deadline = time.monotonic() + 30
            while delivery(services).status is not DeliveryStatus.DELIVERED:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    row = delivery(services)
    services.database.dispose()
    assert len({(one.headers["webhook-id"], one.body) for one in receiver.received}) == 1
    assert [one["outcome"] for one in row.tries] == [None, None, "answered"]
