"""Stores the stored completions of an account under their ids: they are listed and distilled like those made here."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, Field
from sqlalchemy import Engine

from server.db.project_session import project_session
from server.ids import ProjectId
from server.importing.errors import ObjectFailed
from server.importing.objects import Id, Json, UnixSeconds, describe, shown_id
from server.importing.report import Section
from server.stored_completions.bounds import Asked
from server.stored_completions.completion import Completion
from server.stored_completions.service import NoPlace, store_from_elsewhere

_NOT_SENT = ("id", "content_parts")  # what a list of messages adds to each


class SourceCompletion(BaseModel):
    id: Id
    object: Literal["chat.completion"]
    created: UnixSeconds
    model: str
    choices: Annotated[list[dict[str, Any]], Field(min_length=1)]
    metadata: dict[str, str] | None = None


@dataclass
class CompletionImport:
    database: Engine
    project_id: ProjectId
    bounds: Asked
    section: Section
    clock: Callable[[], float] = time.time  # unix seconds

    def store(self, told: Json, messages: Sequence[Json]) -> None:
        """Store a completion, unless it is there; why it is not stored is reported."""
        name = shown_id(told)
        try:
            completion = build(told, messages)
            with project_session(self.database, self.project_id, write=True) as session:
                is_new = store_from_elsewhere(session, completion, self.bounds, now=self.clock())
        except NoPlace as reason:
            self.section.add_not_copied(name, str(reason))
        except ObjectFailed as error:
            self.section.add_failed(name, str(error))
        else:
            (self.section.add if is_new else self.section.add_present)()


def build(told: Json, messages: Sequence[Json]) -> Completion:
    """Put a listed completion and its listed messages in the form of those that are stored here (pure).

    Raises:
        ObjectFailed: it is none.
    """
    source = describe(SourceCompletion, told)
    own = {name: value for name, value in told.items() if name not in ("metadata", "messages")}
    try:
        shown, sent = orjson.dumps(own), orjson.dumps([_as_sent(message) for message in messages])
    except TypeError as error:
        raise ObjectFailed("it has half a character, or a number that is none") from error
    return Completion(source.id, source.model, source.created, source.metadata or {}, shown, sent)


def _as_sent(message: Mapping[str, Any]) -> Json:
    """A message as it was sent: with its parts, if it had some."""
    sent = {name: value for name, value in message.items() if value is not None and name not in _NOT_SENT}
    parts = message.get("content_parts")
    return {**sent, "content": parts or message.get("content")}
