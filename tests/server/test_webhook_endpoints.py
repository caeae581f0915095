"""Webhook endpoints as the official client manages them."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.webhooks import WebhookEndpointWithSecret

from server.auth.api_keys import create_key
from server.bootstrap import Services, build_services
from server.db.project_session import project_session
from server.errors import Busy, InvalidRequest
from server.ids import ProjectId
from server.vocabulary import WebhookEventType
from server.webhooks.desk import WebhookDesk
from server.webhooks.outbox import add_webhook_event
from server.webhooks.outside.urls import Policy
from server.webhooks.signing import new_secret
from tests.factories import make_webhook_endpoint
from tests.running_api import Api, make_settings, serving
from tests.webhook_receiver import Receiver, hanging, make_sender, status

BATCH_EVENTS = ["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"]
JOB_EVENTS: list[Any] = ["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]
URL = "https://93.184.215.14/hooks"


@pytest.fixture
def endpoint(client: openai.OpenAI) -> Iterator[WebhookEndpointWithSecret]:
    made = client.webhooks.create(name="mine", url=URL, event_types=JOB_EVENTS[:1])
    yield made
    client.webhooks.delete(made.id)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """A client of a service with the settings it comes with."""
    services: Services = build_services(make_settings(tmp_path_factory.mktemp("strict"), webhook_max_endpoints=2))
    key = create_key(services.database, "mine").plaintext
    with serving(services) as url, openai.OpenAI(base_url=url, api_key=key, max_retries=0) as client:
        yield client
    services.database.dispose()


def test_the_secret_is_shown_when_it_is_made_and_never_again(client: openai.OpenAI, endpoint: Any) -> None:
    raw = client.webhooks.with_raw_response
    shown = raw.retrieve(endpoint.id).text + raw.list(limit=100).text + raw.update(endpoint.id, name="new").text

    assert endpoint.signing_secret.startswith("whsec_")
    assert endpoint.signing_secret not in shown
    assert endpoint.signing_secret_hint == f"whsec_...{endpoint.signing_secret[-4:]}"


def test_endpoints_are_listed_newest_first_in_pages(api: Api, client: openai.OpenAI) -> None:
    made = [make_webhook_endpoint(api.services, api.project_id).id for _ in range(3)]
    pages = list(client.webhooks.list(limit=2).iter_pages())
    listed = [item.id for page in pages for item in page.data]

    assert listed[:3] == made[::-1]
    assert len(listed) == len(set(listed))
    assert client.webhooks.list(limit=0).data == []
    with pytest.raises(openai.BadRequestError, match="after"):
        client.webhooks.list(after="whe_none")


def test_an_update_changes_what_is_named_alone(client: openai.OpenAI, endpoint: Any) -> None:
    changed = client.webhooks.update(endpoint.id, event_types=[*JOB_EVENTS[1:], JOB_EVENTS[1]])
    same = client.webhooks.update(endpoint.id)

    assert changed.event_types == JOB_EVENTS[1:]
    assert (changed.name, changed.url) == (endpoint.name, endpoint.url)
    assert same == changed == client.webhooks.retrieve(endpoint.id)
    assert same.updated_at is not None
    assert same.updated_at >= endpoint.created_at


def test_a_deleted_endpoint_is_gone(api: Api, client: openai.OpenAI) -> None:
    made = make_webhook_endpoint(api.services, api.project_id).id

    assert client.webhooks.delete(made).deleted
    for ask in (client.webhooks.retrieve, client.webhooks.delete, client.webhooks.rotate_secret):
        with pytest.raises(openai.NotFoundError, match=f"Could not find webhook endpoint: {made}"):
            ask(made)


def test_a_rotation_gives_another_secret(client: openai.OpenAI, endpoint: Any) -> None:
    rotated = client.webhooks.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours=True)
    again = client.webhooks.rotate_secret(endpoint.id)

    assert len({endpoint.signing_secret, rotated.signing_secret, again.signing_secret}) == 3


@pytest.mark.parametrize("call", ["create", "rotate_secret"])
def test_a_retry_gets_the_secret_that_the_first_try_made(api: Api, client: openai.OpenAI, call: str) -> None:
    made = make_webhook_endpoint(api.services, api.project_id).id
    asked = {
        "create": {"name": f"retried {made}", "url": URL, "event_types": JOB_EVENTS},
        "rotate_secret": {"webhook_endpoint_id": made},
    }[call]
    first, again = (
        getattr(client.webhooks, call)(**asked, extra_headers={"x-stainless-retry-count": count})
        for count in ("0", "1")
    )

    assert (first.id, first.signing_secret) == (again.id, again.signing_secret)


def test_the_kinds_of_events_are_those_that_are_sent(client: openai.OpenAI) -> None:
    assert client.webhooks.event_types.list().data == [type.value for type in WebhookEventType]
    assert list(WebhookEventType) == [*JOB_EVENTS, *BATCH_EVENTS]


@pytest.mark.parametrize("event_type", ["response.completed", "video.failed", "no.such.event", ""])
def test_an_event_nothing_here_sends_is_refused(client: openai.OpenAI, event_type: Any) -> None:
    with pytest.raises(openai.BadRequestError, match=r"Supported values are: 'fine_tuning\.job\.succeeded'"):
        client.webhooks.create(name="mine", url=URL, event_types=[event_type])


@pytest.mark.parametrize(
    "url",
    ["http://example.com/", "https://localhost/", "https://127.0.0.1/", "https://[::1]/", "https://2130706433/", "x"],
)
def test_a_url_that_nothing_is_sent_to_is_refused_at_once(strict: openai.OpenAI, url: str) -> None:
    endpoint = strict.webhooks.create(name="mine", url=URL, event_types=JOB_EVENTS)
    with pytest.raises(openai.BadRequestError, match="Invalid 'url': ") as refused:
        strict.webhooks.create(name="mine", url=url, event_types=JOB_EVENTS)
    with pytest.raises(openai.BadRequestError, match="Invalid 'url': "):
        strict.webhooks.update(endpoint.id, url=url)

    assert (refused.value.param, refused.value.code) == ("url", "invalid_url")
    assert strict.webhooks.retrieve(endpoint.id).url == URL
    strict.webhooks.delete(endpoint.id)


def test_a_project_has_so_many_endpoints_and_no_more(strict: openai.OpenAI) -> None:
    made = [strict.webhooks.create(name=name, url=URL, event_types=JOB_EVENTS).id for name in "ab"]
    with pytest.raises(openai.BadRequestError, match="can have 2 webhook endpoints"):
        strict.webhooks.create(name="c", url=URL, event_types=JOB_EVENTS)
    strict.webhooks.delete(made[0])
    third = strict.webhooks.create(name="c", url=URL, event_types=JOB_EVENTS).id

    assert third not in made
    for endpoint in (made[1], third):
        strict.webhooks.delete(endpoint)


@pytest.mark.parametrize("code", [200, 302, 500])
def test_a_test_says_with_which_status_it_was_answered(client: openai.OpenAI, code: int) -> None:
    with Receiver([status(code, "location: http://127.0.0.1:1/")]) as receiver:
        made = client.webhooks.create(name="mine", url=receiver.url, event_types=JOB_EVENTS[:1])
        result = client.webhooks.test(made.id, event_type=JOB_EVENTS[2])
    (received,) = receiver.received

    assert (result.status_code, result.success, result.event_type) == (code, True, JOB_EVENTS[2])
    event = client.webhooks.unwrap(received.body.decode(), received.headers, secret=made.signing_secret)
    assert event.type == JOB_EVENTS[2]


def test_a_test_without_an_answer_says_what_came_in_its_place(api: Api, client: openai.OpenAI) -> None:
    with Receiver() as receiver:
        made = make_webhook_endpoint(api.services, api.project_id, receiver.url).id
    with pytest.raises(openai.BadRequestError, match=r"no answer to the test\. It takes no connection\.") as failed:
        client.webhooks.test(made, event_type=JOB_EVENTS[0])

    assert failed.value.code == "webhook_test_failed"


def test_requests_that_wait_for_receivers_take_few_places() -> None:
    mine, theirs = ProjectId("mine"), ProjectId("theirs")
    refused: list[str] = []

    def look_up(host: str) -> list[str]:
        """While one request looks a name up, another comes, and another project's."""
        if host == "a.example.com":
            desk.check_url(mine, "https://b.example.com/")
        if host == "b.example.com":
            with pytest.raises(Busy):
                desk.check_url(mine, "https://c.example.com/")
            desk.check_url(theirs, "https://d.example.com/")
            refused.append(host)
        return ["8.8.8.8"]

    desk = WebhookDesk(make_sender(policy=Policy(), resolve=look_up))
    for _ in range(2):
        desk.check_url(mine, "https://a.example.com/")
    assert len(refused) == 2


def test_a_test_of_a_receiver_that_hangs_ends() -> None:
    desk = WebhookDesk(make_sender(whole_s=0.1))
    with Receiver([hanging]) as receiver, pytest.raises(InvalidRequest, match="did not answer in time"):
        desk.send_test(ProjectId("p"), receiver.url, [new_secret()], WebhookEventType.JOB_FAILED)


@pytest.mark.parametrize("event_type", WebhookEventType)
def test_every_kind_of_event_has_a_sample_that_is_an_event_of_the_client(event_type: WebhookEventType) -> None:
    secret = new_secret()
    with Receiver() as receiver:
        WebhookDesk(make_sender()).send_test(ProjectId("p"), receiver.url, [secret], event_type)
    (received,) = receiver.received

    event = openai.OpenAI(api_key="x").webhooks.unwrap(received.body.decode(), received.headers, secret=secret)
    assert event.type == event_type


def test_the_log_says_what_is_to_be_delivered(api: Api, client: openai.OpenAI) -> None:
    made = make_webhook_endpoint(api.services, api.project_id).id
    for object_id in ("ftjob-1", "ftjob-2", "ftjob-3"):
        with project_session(api.database, api.project_id, write=True) as session:
            type = WebhookEventType.JOB_FAILED
            add_webhook_event(session, type, project_id=api.project_id, object_id=object_id, now=1000.0)
    path = f"/tunesmith/webhook_endpoints/{made}/deliveries"
    first: Any = client.get(path, cast_to=object, options={"params": {"limit": 2}})
    rest: Any = client.get(path, cast_to=object, options={"params": {"after": first["last_id"]}})

    assert [item["object_id"] for item in first["data"] + rest["data"]] == ["ftjob-3", "ftjob-2", "ftjob-1"]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    entry = first["data"][0]
    assert (entry["status"], entry["next_try_at"], entry["tries"]) == ("pending", 1000.0, [])
    with pytest.raises(openai.BadRequestError, match="after"):
        client.get(path, cast_to=object, options={"params": {"after": "wh_none"}})
