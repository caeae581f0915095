"""The making of training files of stored completions, on the wire. Ours."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.completion_exports.examples import LeftOut
from server.files.schemas import OpenAIFile
from server.stored_completions.schemas import Metadata
from trainer.contract.spec import PiiPolicy

_MOST_IDS = 1000
FinishReason = Literal["stop", "tool_calls", "length", "content_filter"]
Moment = Annotated[int, Field(ge=0, le=2**53)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ExportFilter(_Request):
    """Which completions: those to which all of it applies."""

    model: str | None = None
    metadata: Metadata | None = None  # each pair
    created_after: Moment | None = None  # unix seconds: from then on
    created_before: Moment | None = None  # without that second
    ids: Annotated[list[Annotated[str, Field(max_length=128)]], Field(min_length=1, max_length=_MOST_IDS)] | None = None
    finish_reasons: Annotated[list[FinishReason], Field(min_length=1, max_length=4)] = ["stop", "tool_calls"]


class CreateCompletionExportRequest(_Request):
    filter: ExportFilter = ExportFilter()
    choices: Literal["first", "all"] = "first"  # of completions with `n` above 1
    dedupe: bool = True  # of lines that are the same, one
    pii: PiiPolicy | None = None  # null: that of the settings
    filename: Annotated[str, Field(min_length=1, max_length=255)] | None = None


class PiiFound(BaseModel):
    policy: PiiPolicy
    examples: int  # that held any
    matches: dict[str, int]  # by kind


class CompletionExport(BaseModel):
    """A training file that was made of stored completions."""

    id: str
    object: Literal["chat.completion.export"] = "chat.completion.export"
    created_at: int  # unix seconds
    file: OpenAIFile
    completions: int  # that the filter found
    examples: int  # lines of the file
    left_out: dict[LeftOut, int]  # choices, by reason
    pii: PiiFound | None  # null: nobody looked
