"""/v1/organization/usage/completions, for admin keys: over all projects."""

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy import Engine

from server.auth.dependencies import RequireAdmin
from server.errors import Forbidden, InvalidRequest, responses
from server.metering.asked import Buckets, BucketWidth, GroupBy, choose_buckets, columns_of
from server.metering.folding import Folder
from server.metering.repository import sum_usage
from server.metering.schemas import UsageCompletionsResult, UsageResponse, UsageTimeBucket
from server.metering.sums import UsageFilter

router = APIRouter(
    prefix="/v1/organization/usage", tags=["Usage"], dependencies=[Depends(RequireAdmin("api.usage.read"))]
)

_LATEST_S = 2**40
T = TypeVar("T")
Names = Annotated[list[str] | None, Query(max_length=1000)]


@dataclass(frozen=True)
class Lists:
    """The parameters that can be given several times: with `[]` as the official clients do, or without."""

    group_by: frozenset[GroupBy]
    project_ids: list[str] | None
    key_ids: list[str] | None
    models: list[str] | None
    asks_for_users: bool


def read_lists(
    group_by: Annotated[list[GroupBy] | None, Query()] = None,
    project_ids: Names = None,
    api_key_ids: Names = None,
    models: Names = None,
    user_ids: Names = None,
    group_by_: Annotated[list[GroupBy] | None, Query(alias="group_by[]")] = None,
    project_ids_: Annotated[list[str] | None, Query(alias="project_ids[]")] = None,
    api_key_ids_: Annotated[list[str] | None, Query(alias="api_key_ids[]")] = None,
    models_: Annotated[list[str] | None, Query(alias="models[]")] = None,
    user_ids_: Annotated[list[str] | None, Query(alias="user_ids[]")] = None,
) -> Lists:
    return Lists(
        group_by=frozenset(_either(group_by, group_by_) or ()),
        project_ids=_either(project_ids, project_ids_),
        key_ids=_either(api_key_ids, api_key_ids_),
        models=_either(models, models_),
        asks_for_users=_either(user_ids, user_ids_) is not None,
    )


@router.get("/completions", operation_id="usageCompletions", responses=responses(Forbidden, InvalidRequest))
def usage_completions(
    request: Request,
    lists: Annotated[Lists, Depends(read_lists)],
    start_time: Annotated[int, Query(ge=0, le=_LATEST_S, description="Unix seconds, inclusive.")],
    end_time: Annotated[int | None, Query(ge=0, le=_LATEST_S, description="Unix seconds, exclusive.")] = None,
    bucket_width: BucketWidth = "1d",
    limit: int | None = None,
    page: str | None = None,
    batch: bool | None = None,
) -> UsageResponse:
    """Give the usage of chat completions, exact to what was answered a moment ago. There are no users."""
    folder: Folder = request.app.state.usage_folder
    folder.fold()
    now = int(time.time()) + 1
    until = min(end_time or now, now)
    buckets = choose_buckets(since=start_time, until=until, width=bucket_width, limit=limit, page=page)
    shown = UsageFilter(
        since=max(start_time // 60 * 60, buckets.starts.start),
        until=min(until, buckets.starts.stop),
        project_ids=lists.project_ids,
        key_ids=lists.key_ids,
        models=lists.models,
        is_batch=batch,
    )
    found = {} if lists.asks_for_users else _results(request.app.state.database, shown, buckets, lists.group_by)
    data = [
        UsageTimeBucket(start_time=start, end_time=start + buckets.width_s, results=found.get(start, []))
        for start in buckets.starts
    ]
    return UsageResponse(data=data, has_more=buckets.next_page is not None, next_page=buckets.next_page)


def _results(
    database: Engine, shown: UsageFilter, buckets: Buckets, group_by: frozenset[GroupBy]
) -> dict[int, list[UsageCompletionsResult]]:
    results = defaultdict(list)
    for found in sum_usage(database, shown, width_s=buckets.width_s, group_by=columns_of(group_by)):
        results[found.bucket].append(UsageCompletionsResult.from_sum(found, group_by))
    return results


def _either(plain: list[T] | None, bracketed: list[T] | None) -> list[T] | None:
    return [*(plain or ()), *(bracketed or ())] if plain is not None or bracketed is not None else None
