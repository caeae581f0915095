"""When a file expires (pure)."""

from dataclasses import dataclass

from server.errors import InvalidRequest
from server.vocabulary import FilePurpose

_SHORTEST_S = 3600
_LONGEST_S = 30 * 24 * 3600


@dataclass(frozen=True)
class ExpiresAfter:
    """OpenAI: FileExpirationAfter, whose only anchor is `created_at`."""

    seconds: int


def parse_expires_after(anchor: str | None, seconds: str | None) -> ExpiresAfter | None:
    """Read the two form fields; None if neither was sent.

    Raises:
        InvalidRequest: only one was sent, or one is not what it may be.
    """
    if anchor is None and seconds is None:
        return None
    if anchor is None or seconds is None:
        param = f"expires_after[{'anchor' if anchor is None else 'seconds'}]"
        raise InvalidRequest(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    if anchor != "created_at":
        raise InvalidRequest(
            f"Invalid value: '{anchor[:64]}'. Supported values are: 'created_at'.",
            param="expires_after[anchor]",
            code="invalid_value",
        )
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) < 16):
        raise InvalidRequest(
            "Invalid type for 'expires_after[seconds]': expected an integer, but got a string instead.",
            param="expires_after[seconds]",
            code="invalid_type",
        )
    if not _SHORTEST_S <= int(seconds) <= _LONGEST_S:
        raise InvalidRequest(
            f"Invalid 'expires_after[seconds]': expected a value between {_SHORTEST_S} and {_LONGEST_S}, "
            f"but got {int(seconds)} instead.",
            param="expires_after[seconds]",
            code="invalid_value",
        )
    return ExpiresAfter(int(seconds))


def expires_at(purpose: FilePurpose, asked: ExpiresAfter | None, *, created_at: int) -> int | None:
    """Unix seconds; files of batches go after 30 days unless told otherwise, all others stay."""
    if asked is not None:
        return created_at + asked.seconds
    return created_at + _LONGEST_S if purpose in (FilePurpose.BATCH, FilePurpose.BATCH_OUTPUT) else None
