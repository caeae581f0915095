"""`data` of a request for a job: how its files are treated before training. Ours, not OpenAI's."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.db.tables import JobRow
from trainer.contract.spec import MixIn, WantedSelection

MAX_MIXED_IN = 5  # files
_PILOT = 100  # examples of `"pilot": true`


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class MixInRequest(_Request):
    """A further file to train on."""

    file: str
    ratio: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]  # for each example of the training file


class DataOptions(_Request):
    """How the files are treated before training."""

    pii: Literal["off", "warn", "block", "redact"] | None = None  # personal data and secrets; None: the operator's
    holdout: Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False)] | None = None  # share for validation
    mix_in: Annotated[list[MixInRequest], Field(max_length=MAX_MIXED_IN)] | None = None
    pilot: Annotated[int, Field(ge=10, le=1000)] | bool | None = None  # examples to sample; true: 100


def mixed_in_files(job: JobRow) -> list[str]:
    """The ids of the files that are mixed in."""
    return [asked["file"] for asked in (job.data_options or {}).get("mix_in") or []]


def wanted_selection(job: JobRow) -> WantedSelection | None:
    """What the job is to train on; None if that is its training file."""
    return build_selection(job.data_options, seed=job.seed)


def build_selection(asked: Mapping[str, Any] | None, *, seed: int) -> WantedSelection | None:
    """What is to be trained on, by the options as they are dumped; None if that is the training file."""
    options = asked or {}
    pilot = options.get("pilot") or None
    wanted = WantedSelection(
        seed=seed,
        holdout=options.get("holdout"),
        pilot=_PILOT if pilot is True else pilot,
        mix_in=tuple(MixIn(file_id=of["file"], ratio=of["ratio"]) for of in options.get("mix_in") or []),
    )
    return None if wanted == WantedSelection(seed=seed) else wanted
