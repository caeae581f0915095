"""Secrets of webhooks and what is signed with them, as Standard Webhooks has it (pure, but for chance)."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from server.db.tables import WebhookEndpointRow

OVERLAP_S = 24 * 3600

_PREFIX = "whsec_"
_SECRET_BYTES = 32


def new_secret() -> str:
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def hint_of(secret: str) -> str:
    """What tells a secret from others, and nobody how to sign."""
    return f"{_PREFIX}...{secret[-4:]}"


def rotate(endpoint: WebhookEndpointRow, *, keep_old: bool, now: float) -> None:
    """Give the endpoint a new secret. Unless `keep_old`, no earlier one signs any more: it may be known to others."""
    endpoint.old_secrets = (
        [*_still_valid(endpoint, now), {"secret": endpoint.secret, "until": now + OVERLAP_S}] if keep_old else []
    )
    endpoint.secret = new_secret()


def secrets_of(endpoint: WebhookEndpointRow, now: float) -> list[str]:
    """Those that sign: the newest first, then what it replaced within the overlap."""
    return [endpoint.secret, *(str(old["secret"]) for old in reversed(_still_valid(endpoint, now)))]


@dataclass(frozen=True)
class Message:
    """What is told, the same in every try."""

    id: str
    body: bytes


def signed_headers(message: Message, signing: Sequence[str], *, now: float) -> dict[str, str]:
    """One signature for each secret: a receiver that knows any of them is content."""
    timestamp = str(int(now))
    signed = b".".join((message.id.encode(), timestamp.encode(), message.body))
    return {
        "webhook-id": message.id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{_sign(secret, signed)}" for secret in signing),
    }


def _sign(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def _still_valid(endpoint: WebhookEndpointRow, now: float) -> list[dict[str, object]]:
    return [old for old in endpoint.old_secrets if old["until"] > now]
