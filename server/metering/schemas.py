"""Usage on the wire."""

from typing import Literal

from pydantic import BaseModel

from server.metering.sums import UsageSum


class UsageCompletionsResult(BaseModel):
    """OpenAI: UsageCompletionsResult."""

    object: Literal["organization.usage.completions.result"] = "organization.usage.completions.result"
    input_tokens: int
    input_cached_tokens: int
    input_uncached_tokens: int
    input_text_tokens: int
    input_cached_text_tokens: int
    output_tokens: int
    output_text_tokens: int
    input_audio_tokens: int = 0
    input_cached_audio_tokens: int = 0
    output_audio_tokens: int = 0
    input_image_tokens: int = 0
    input_cached_image_tokens: int = 0
    output_image_tokens: int = 0
    num_model_requests: int
    project_id: str | None
    user_id: str | None = None  # there are projects here, and no users
    api_key_id: str | None
    model: str | None
    batch: bool | None = None
    service_tier: str | None = None

    @classmethod
    def from_sum(cls, found: UsageSum, grouped_by: frozenset[str]) -> "UsageCompletionsResult":
        amount, group = found.amount, found.group
        uncached = amount.prompt_tokens - amount.cached_tokens
        return cls(
            input_tokens=amount.prompt_tokens,
            input_cached_tokens=amount.cached_tokens,
            input_uncached_tokens=uncached,
            input_text_tokens=uncached,
            input_cached_text_tokens=amount.cached_tokens,
            output_tokens=amount.completion_tokens,
            output_text_tokens=amount.completion_tokens,
            num_model_requests=amount.requests,
            project_id=group.get("project_id"),
            api_key_id=group.get("key_id"),
            model=group.get("model"),
            batch=group.get("is_batch"),
            service_tier="default" if "service_tier" in grouped_by else None,
        )


class UsageTimeBucket(BaseModel):
    """OpenAI: UsageTimeBucket."""

    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: list[UsageCompletionsResult]


class UsageResponse(BaseModel):
    """OpenAI: UsageResponse."""

    object: Literal["page"] = "page"
    data: list[UsageTimeBucket]
    has_more: bool
    next_page: str | None
