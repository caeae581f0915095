"""What form of an answer a client prefers (RFC 9110, Accept)."""


def prefers_html(accept: str | None) -> bool:
    """Whether HTML is wanted more than JSON; without a word, or with an equal one, JSON is given."""
    if accept is None:
        return False
    qualities = _qualities(accept)
    return _quality_of("text/html", qualities) > _quality_of("application/json", qualities)


def _qualities(accept: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for entry in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in entry.split(";"))
        quality = next((value[2:] for value in parameters if value.startswith("q=")), "1")
        try:
            found[kind] = float(quality)
        except ValueError:
            found[kind] = 0.0
    return found


def _quality_of(kind: str, qualities: dict[str, float]) -> float:
    """By the most exact word for it."""
    group = f"{kind.partition('/')[0]}/*"
    return next((qualities[name] for name in (kind, group, "*/*") if name in qualities), 0.0)
