"""How long to wait before a request is sent again (pure)."""

import email.utils
from collections.abc import Mapping

MOST_TRIES = 8
_FIRST_S = 0.5  # then doubled
_LONGEST_S = 32.0
_PATIENCE_S = 300.0  # who asks for more is left alone


def wait_before_next(tries: int, status: int | None, headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds to wait after this many tries; None: do not try again.

    `status` is None where there was no whole answer. What the server asks for goes before our own measure.
    """
    is_passing = status is None or status in (408, 409, 429) or status >= 500
    if not is_passing or tries >= MOST_TRIES or headers.get("x-should-retry") == "false":
        return None
    asked = _asked(headers, now)
    if asked is not None:
        return asked if asked <= _PATIENCE_S else None
    return min(_FIRST_S * float(2 ** (tries - 1)), _LONGEST_S)


def _asked(headers: Mapping[str, str], now: float) -> float | None:
    """What `retry-after-ms` or `retry-after` say; None: nothing that can be understood."""
    for name, per_second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / per_second
        except ValueError:
            continue
        return seconds if seconds >= 0 else None  # not a number is neither
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    return None if date is None else max(0.0, email.utils.mktime_tz(date) - now)
