"""Which account at OpenAI is copied, from the variables that the official client reads (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from server.importing.errors import ImportFailed

_DEFAULT_BASE_URL = "https://api.openai.com/v1"


@dataclass(frozen=True)
class Account:
    base_url: str  # without a slash at its end
    key: str = field(repr=False)
    organization: str | None = None
    project: str | None = None

    def headers(self) -> dict[str, str]:
        chosen = {"OpenAI-Organization": self.organization, "OpenAI-Project": self.project}
        return {"Authorization": f"Bearer {self.key}"} | {name: value for name, value in chosen.items() if value}


def read_account(environment: Mapping[str, str]) -> Account:
    """Raises: ImportFailed: a variable is missing or cannot be used."""
    values = {
        name: environment.get(name, "").strip()
        for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID")
    }
    if not values["OPENAI_API_KEY"]:
        raise ImportFailed("OPENAI_API_KEY is not set; export the key of the account that is to be copied")
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        if not (values[name].isascii() and values[name].isprintable()):
            raise ImportFailed(f"{name} holds characters that no header can hold; export it again")
    return Account(
        base_url=_checked(values["OPENAI_BASE_URL"] or _DEFAULT_BASE_URL),
        key=values["OPENAI_API_KEY"],
        organization=values["OPENAI_ORG_ID"] or None,
        project=values["OPENAI_PROJECT_ID"] or None,
    )


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        is_usable = False
    if not is_usable or parts.username or parts.query or parts.fragment or not url.isascii() or not url.isprintable():
        raise ImportFailed("OPENAI_BASE_URL is no address such as https://api.openai.com/v1")
    return url.rstrip("/")
