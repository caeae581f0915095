"""From the headers of a request to its caller."""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Engine

from server.auth.api_keys import find_caller, find_project
from server.auth.caller import Caller
from server.errors import Unauthenticated

_SETTINGS_ADMIN_KEY = "the admin key of the settings"  # in the place of an id
_NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    "(i.e. Authorization: Bearer YOUR_KEY). You can make a key with `tunesmith keys create`."
)


@dataclass(frozen=True)
class Authenticator:
    """Knows the keys of the settings, and asks the database for every other: a revoked key is refused at once."""

    database: Engine
    default: Caller  # of the default project, without administration rights
    api_key: str | None
    admin_key: str | None

    def authenticate(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        """Find the caller by headers with names in lower case, as ASGI has them. Reads the database: in a thread.

        An admin key acts in the default project, or in the one that `OpenAI-Project` names.

        Raises:
            Unauthenticated: no key, or a wrong one.
        """
        values = dict(headers)
        key = _bearer(values.get(b"authorization", b""))
        if key is None:
            raise Unauthenticated(_NO_KEY)
        caller = self._from_settings(key) or find_caller(self.database, key)
        if caller is None:
            raise Unauthenticated(
                f"Incorrect API key provided: {_redacted(key)}. "
                "`tunesmith keys list` shows the keys there are, `tunesmith keys create` makes one.",
                code="invalid_api_key",
            )
        project_id = values.get(b"openai-project", b"").decode("latin-1").strip()
        if not caller.is_admin or not project_id:
            return caller
        return self._as_admin_of(project_id, caller.key_id)

    def _from_settings(self, key: bytes) -> Caller | None:
        """Both are compared whatever the first comparison says: the time tells nothing."""
        is_api_key, is_admin_key = _same(key, self.api_key), _same(key, self.admin_key)
        if not is_api_key and not is_admin_key:
            return None
        key_id = _SETTINGS_ADMIN_KEY if is_admin_key else self.default.key_id
        return find_project(self.database, self.default.project_id, is_admin=is_admin_key, key_id=key_id)

    def _as_admin_of(self, project_id: str, key_id: str) -> Caller:
        caller = find_project(self.database, project_id, is_admin=True, key_id=key_id)
        if caller is None:
            raise Unauthenticated(
                "The OpenAI-Project header names no project of this server. Leave it out to act in the default one.",
                code="mismatched_project",
            )
        return caller


def credentials_digest(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """What a caller is found by, in a form that may be kept: a digest of the headers that `authenticate` reads."""
    authorization = project = b""
    for name, value in headers:
        if name == b"authorization":
            authorization = value
        elif name == b"openai-project":
            project = value
    return hashlib.sha256(b"%d %b %b" % (len(authorization), authorization, project)).digest()


def _bearer(header: bytes) -> bytes | None:
    scheme, _, key = header.strip().partition(b" ")
    return key.strip() or None if scheme.lower() == b"bearer" else None


def _same(key: bytes, expected: str | None) -> bool:
    """Compare in constant time. Clients send what is not ASCII as UTF-8, or as HTTP's old Latin-1."""
    text = (expected or "").strip()
    as_utf8 = hmac.compare_digest(key, text.encode())
    as_latin_1 = hmac.compare_digest(key, text.encode("latin-1", errors="xmlcharrefreplace"))
    return bool(text) and (as_utf8 or as_latin_1)


def _redacted(key: bytes) -> str:
    text = key.decode("utf-8", errors="replace")
    return f"{text[:5]}***{text[-2:]}" if len(text) >= 12 else "***"
