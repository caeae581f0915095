"""The header that says which weights gave an answer."""

from inference.engine import AdapterRef

SERVED_BY = "x-tunesmith-adapter"


def served_by(adapter: AdapterRef | None) -> str:
    """For every answer that is no error. An engine serves an adapter only with weights of exactly this hash."""
    return "none" if adapter is None else f"sha256:{adapter.sha256}"
