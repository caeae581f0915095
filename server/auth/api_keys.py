"""The key cabinet: make, list, revoke and look up API keys. Only hashes are kept."""

import hashlib
import secrets
import time
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from server.auth.caller import Caller, ProjectLimits
from server.db.system_session import system_session
from server.db.tables import ApiKeyRow, ProjectRow
from server.ids import ProjectId, new_key_id, new_organization_id, new_project_id, slugify

DEFAULT_PROJECT = "default"
SETTINGS_KEY = "the API key of the settings"  # in the place of an id
_PREFIX = "sk-tunesmith-"


@dataclass(frozen=True)
class NewKey:
    id: str
    plaintext: str  # shown once; it cannot be found out again


@dataclass(frozen=True)
class KeyListing:
    id: str
    project: str
    hint: str  # first characters and last four
    is_admin: bool
    created_at: int  # unix seconds
    revoked_at: int | None


def ensure_default_project(database: Engine, slug: str) -> Caller:
    """Make the project `default` if it is not there, and give it the slug of the settings."""
    with system_session(database, write=True) as session:
        project = _ensure_project(session, DEFAULT_PROJECT, slug)
        project.slug = slugify(slug)
        session.add(project)
        return _caller(project, is_admin=False, key_id=SETTINGS_KEY)


def create_key(database: Engine, project_name: str = DEFAULT_PROJECT, *, is_admin: bool = False) -> NewKey:
    """Make a key, and its project if that is new."""
    plaintext = _PREFIX + secrets.token_urlsafe(36)
    with system_session(database, write=True) as session:
        row = ApiKeyRow(
            id=new_key_id(),
            project_id=_ensure_project(session, project_name, project_name).id,
            sha256=_hash(plaintext.encode()),
            hint=f"{plaintext[: len(_PREFIX) + 3]}…{plaintext[-4:]}",
            is_admin=is_admin,
            created_at=int(time.time()),
        )
        session.add(row)
        return NewKey(row.id, plaintext)


def list_keys(database: Engine) -> list[KeyListing]:
    """Every key that was ever made, oldest first."""
    with system_session(database) as session:
        rows = session.exec(
            select(ApiKeyRow, ProjectRow)
            .join(ProjectRow, col(ProjectRow.id) == col(ApiKeyRow.project_id))
            .order_by(col(ApiKeyRow.created_at), col(ApiKeyRow.id))
        ).all()
    return [
        KeyListing(key.id, project.name, key.hint, key.is_admin, key.created_at, key.revoked_at)
        for key, project in rows
    ]


def revoke_key(database: Engine, key_id: str) -> bool:
    """Make a key invalid from now on. Idempotent; False if there is no such key."""
    with system_session(database, write=True) as session:
        row = session.get(ApiKeyRow, key_id)
        if row is None:
            return False
        row.revoked_at = row.revoked_at or int(time.time())
        session.add(row)
        return True


def find_caller(database: Engine, key: bytes) -> Caller | None:
    """The caller a key that was made here stands for; None if there is none, or it was revoked."""
    with system_session(database) as session:
        found = session.exec(
            select(ApiKeyRow, ProjectRow)
            .join(ProjectRow, col(ProjectRow.id) == col(ApiKeyRow.project_id))
            .where(ApiKeyRow.sha256 == _hash(key), col(ApiKeyRow.revoked_at).is_(None))
        ).first()
    return _caller(found[1], is_admin=found[0].is_admin, key_id=found[0].id) if found else None


def find_project(database: Engine, project_id: str, *, is_admin: bool, key_id: str = "") -> Caller | None:
    """What a key would be as a caller in the project of this id; None if there is no such project."""
    with system_session(database) as session:
        project = session.get(ProjectRow, project_id)
    return _caller(project, is_admin=is_admin, key_id=key_id) if project else None


def _ensure_project(session: Session, name: str, slug: str) -> ProjectRow:
    project = session.exec(select(ProjectRow).where(ProjectRow.name == name)).first()
    if project is None:
        project = ProjectRow(
            id=new_project_id(),
            name=name,
            organization_id=new_organization_id(),
            slug=slugify(slug),
            created_at=int(time.time()),
        )
        session.add(project)
    return project


def _caller(project: ProjectRow, *, is_admin: bool, key_id: str) -> Caller:
    limits = ProjectLimits(project.requests_per_minute, project.tokens_per_minute, project.max_concurrent_answers)
    return Caller(ProjectId(project.id), project.organization_id, project.slug, is_admin, key_id, limits)


def _hash(key: bytes) -> str:
    """Keys are long and random, so that a fast hash is safe."""
    return hashlib.sha256(key).hexdigest()
