"""Durations as OpenAI's headers and messages spell them (pure): 120ms, 1.5s, 6m0s."""


def format_duration(seconds: float) -> str:
    """Rounded up to the millisecond, so that waiting so long is enough."""
    milliseconds = -int(-seconds * 1000 // 1)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    if milliseconds < 60_000:
        return f"{_plain(milliseconds)}s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + f"{minutes}m{_plain(rest)}s"


def _plain(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".")
