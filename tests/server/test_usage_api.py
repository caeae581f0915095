import time
import uuid
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from server.auth.api_keys import create_key
from server.errors import InvalidRequest
from server.metering.asked import BucketWidth, choose_buckets, columns_of
from server.metering.journal import Journal
from server.metering.meter import Meter
from server.relay.accounts import Usage
from tests.running_api import ADMIN_KEY, Api

HOUR = 3600
NOON = 1_764_158_400  # 2025-11-26 12:00 UTC


@pytest.fixture
def admin(api: Api) -> Iterator[openai.OpenAI]:
    with api.client(ADMIN_KEY) as client:
        yield client.with_options(admin_api_key=ADMIN_KEY)


@pytest.fixture
def used(api: Api) -> str:
    """Two answers to a new project; its id."""
    key = create_key(api.database, f"of usage {uuid.uuid4()}").plaintext
    headers = [(b"authorization", b"Bearer " + key.encode())]
    project_id = api.services.authenticator.authenticate(headers).project_id
    meter = Meter(Journal(api.services.settings.usage))
    for model, tokens in (("gpt-4o-mini", 5), ("tunesmith-demo", 7)):
        answer = meter.begin(project_id=project_id, key_id=f"key_{model}", model=model, base_model="tunesmith-demo")
        answer.finish(Usage(prompt_tokens=10, cached_tokens=4, completion_tokens=tokens))
    meter.close()
    return project_id


def test_the_official_client_reads_the_usage_of_a_project_at_once(admin: openai.OpenAI, used: str) -> None:
    page = admin.admin.organization.usage.completions(
        start_time=int(time.time()) - HOUR, bucket_width="1d", project_ids=[used]
    )

    (result,) = [result for bucket in page.data for result in bucket.results]
    assert result.object == "organization.usage.completions.result"
    assert (result.input_tokens, result.input_cached_tokens, result.output_tokens) == (20, 8, 12)
    assert (result.num_model_requests, result.project_id, result.model) == (2, None, None)
    assert (page.has_more, page.next_page) == (False, None)


def test_usage_of_batches_stands_apart(api: Api, admin: openai.OpenAI, used: str) -> None:
    meter = Meter(Journal(api.services.settings.usage))
    answer = meter.begin(used, "key_gpt-4o-mini", "gpt-4o-mini", "tunesmith-demo", is_batch=True)
    answer.finish(Usage(prompt_tokens=100, completion_tokens=50))
    meter.close()

    def usage(**asked: Any) -> dict[bool | None, int]:
        page = admin.admin.organization.usage.completions(
            start_time=int(time.time()) - HOUR, bucket_width="1d", project_ids=[used], **asked
        )
        return {result.batch: result.output_tokens for bucket in page.data for result in bucket.results}

    assert usage() == {None: 62}
    assert usage(group_by=["batch"]) == {False: 12, True: 50}
    assert usage(batch=True) == {None: 50}
    assert usage(batch=False) == {None: 12}


def test_usage_is_grouped_by_what_is_asked_for(admin: openai.OpenAI, used: str) -> None:
    page = admin.admin.organization.usage.completions(
        start_time=int(time.time()) - HOUR,
        bucket_width="1d",
        project_ids=[used],
        group_by=["model", "project_id", "api_key_id"],
    )

    found = [
        (result.model, result.project_id, result.api_key_id, result.output_tokens)
        for bucket in page.data
        for result in bucket.results
        if result.object == "organization.usage.completions.result"
    ]
    assert found == [
        ("gpt-4o-mini", used, "key_gpt-4o-mini", 5),
        ("tunesmith-demo", used, "key_tunesmith-demo", 7),
    ]


@pytest.mark.parametrize(
    "chosen",
    [{"models": ["gpt-4o-mini"]}, {"api_key_ids": ["key_gpt-4o-mini"]}],
    ids=["by model", "by key"],
)
def test_usage_is_chosen(admin: openai.OpenAI, used: str, chosen: dict[str, list[str]]) -> None:
    page = admin.admin.organization.usage.completions(start_time=int(time.time()) - HOUR, project_ids=[used], **chosen)

    (result,) = [result for bucket in page.data for result in bucket.results]
    assert result.object == "organization.usage.completions.result"
    assert result.output_tokens == 5


def test_lists_are_read_with_and_without_brackets(api: Api, used: str) -> None:
    with api.http(ADMIN_KEY) as http:
        answers = [
            http.get(
                "/v1/organization/usage/completions",
                params={"start_time": int(time.time()) - HOUR, f"project_ids{brackets}": used},
            ).json()["data"]
            for brackets in ("", "[]")
        ]

    assert answers[0] == answers[1]
    assert [bucket["results"] for bucket in answers[0]][-1][0]["input_tokens"] == 20


def test_users_have_used_nothing(admin: openai.OpenAI, used: str) -> None:
    usage = admin.admin.organization.usage
    since = int(time.time()) - HOUR

    page = usage.completions(start_time=since, user_ids=["user-1"])

    assert [bucket.results for bucket in page.data if bucket.results] == []


def test_a_project_s_own_key_may_not_read_usage(client: openai.OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError, match=r"Missing scopes: api\.usage\.read"):
        client.with_options(admin_api_key=client.api_key).admin.organization.usage.completions(start_time=0)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"start_time": -1},
        {"start_time": 0, "limit": 32},
        {"start_time": 0, "limit": 0},
        {"start_time": 0, "page": "page_x"},
        {"start_time": 0, "group_by": "colour"},
        {"start_time": 0, "bucket_width": "2d"},
    ],
)
def test_what_cannot_be_read_is_refused(api: Api, params: dict[str, str | int]) -> None:
    with api.http(ADMIN_KEY) as http:
        answer = http.get("/v1/organization/usage/completions", params=params)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("width", "since", "until", "limit", "expected"),
    [
        ("1h", NOON, NOON + 2 * HOUR, None, [NOON, NOON + HOUR]),
        ("1h", NOON + 5, NOON + 6, None, [NOON]),
        ("1m", NOON, NOON + HOUR, 2, [NOON, NOON + 60]),
        ("1d", NOON, NOON + 1, None, [NOON - 12 * HOUR]),
        ("1d", NOON, NOON, None, [NOON - 12 * HOUR]),
        ("1d", NOON, NOON - 86400, None, [NOON - 12 * HOUR]),
    ],
)
def test_buckets_are_whole_multiples_of_their_width(
    width: BucketWidth, since: int, until: int, limit: int | None, expected: list[int]
) -> None:
    buckets = choose_buckets(since=since, until=until, width=width, limit=limit, page=None)

    assert list(buckets.starts) == expected


def test_pages_follow_one_another_without_a_gap() -> None:
    seen: list[int] = []
    page: str | None = None
    while page is not None or not seen:
        buckets = choose_buckets(since=NOON, until=NOON + 50 * HOUR, width="1h", limit=None, page=page)
        seen += buckets.starts
        page = buckets.next_page

    assert seen == list(range(NOON, NOON + 50 * HOUR, HOUR))


@pytest.mark.parametrize("page", ["x", "page_", "page_-1", "page_9999999999999"])
def test_a_strange_cursor_is_refused(page: str) -> None:
    with pytest.raises(InvalidRequest):
        choose_buckets(since=0, until=1, width="1h", limit=None, page=page)


def test_what_is_one_here_is_not_grouped_by() -> None:
    assert columns_of(frozenset({"user_id", "service_tier", "model"})) == ["model"]
