"""The base models this server offers, read from one TOML file."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator


class BaseModelsInvalid(Exception):
    """The file of base models cannot be used; the message says where and why."""


class Kind(StrEnum):
    """What a base model gives, and with it what it can be asked for."""

    CHAT = "chat"  # text; it can be fine-tuned
    EMBEDDING = "embedding"  # a vector of each text


class BaseModelEntry(BaseModel):
    """One `[[base_model]]` of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/\-]*$")]
    source: str  # a directory (relative ones: to the file's), or a Hugging Face repository id
    revision: str | None = None
    kind: Kind = Kind.CHAT
    aliases: tuple[str, ...] = ()  # further names; code that asks for one of them needs no change
    context_length: Annotated[int, Field(ge=16)]  # tokens, in training and serving
    tool_call_parser: str | None = None  # vLLM's name of it; None: no tool calls
    chat_template: Path | None = None  # for a base that has none of its own
    serve_quantized: Literal["nf4"] | None = None  # what its engine makes of it; None: it serves it as its files are
    created: int = 0  # unix seconds, as /v1/models shows it
    shutdown_date: date | None = None  # likewise; announced to clients, and nothing more

    @field_validator("serve_quantized", mode="before")
    @classmethod
    def _is_what_an_engine_makes(cls, value: object) -> object:
        if value in (None, "nf4"):
            return value
        raise ValueError("vLLM quantises a model to 'nf4' while it loads it, and to nothing else that is trained on")

    @field_validator("shutdown_date", mode="before")
    @classmethod
    def _is_a_day(cls, value: object) -> object:
        """A date of TOML, or the same in quotes; pydantic alone would take a number of seconds, too."""
        if isinstance(value, str):
            return date.fromisoformat(value)
        if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
            return value
        raise ValueError("expected a day, as 2027-01-31")

    @model_validator(mode="after")
    def _has_what_its_kind_has(self) -> Self:
        if self.kind is not Kind.CHAT and (self.tool_call_parser or self.chat_template or self.serve_quantized):
            raise ValueError("an embedding model takes no tool_call_parser, chat_template or serve_quantized")
        return self


@dataclass(frozen=True)
class BaseModels:
    """The entries by name and alias."""

    entries: tuple[BaseModelEntry, ...]
    by_name: Mapping[str, BaseModelEntry]  # every name and alias

    def find(self, name: str) -> BaseModelEntry | None:
        return self.by_name.get(name)


def load_base_models(path: Path) -> BaseModels:
    """Read the file and make relative paths absolute.

    Raises:
        BaseModelsInvalid: not there, not TOML, an unknown field, or a name used twice.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BaseModelsInvalid(f"cannot read the base models file {path}: {error}") from error
    unknown = set(document) - {"base_model"}
    if unknown or not document.get("base_model"):
        raise BaseModelsInvalid(f"{path}: expected one or more [[base_model]] tables and nothing else")
    entries = tuple(_entry(path, index, raw) for index, raw in enumerate(document["base_model"], start=1))
    by_name: dict[str, BaseModelEntry] = {}
    for entry in entries:
        for name in (entry.name, *entry.aliases):
            if name in by_name or name.startswith("ft:"):
                raise BaseModelsInvalid(f"{path}: the name {name!r} is used twice or begins with 'ft:'")
            by_name[name] = entry
    return BaseModels(entries, by_name)


def _entry(path: Path, index: int, raw: object) -> BaseModelEntry:
    try:
        entry = BaseModelEntry.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BaseModelsInvalid(f"{path}: base_model {index}, field {field!r}: {first['msg']}") from error
    local = (path.parent / entry.source).resolve()
    if local.is_dir():
        entry = entry.model_copy(update={"source": str(local)})
    elif entry.source.startswith((".", "/")):
        raise BaseModelsInvalid(
            f"{path}: base_model {entry.name!r}: there is no directory {local}; "
            "put the model there or name a Hugging Face repository"
        )
    if entry.chat_template is not None:
        template = (path.parent / entry.chat_template).resolve()
        if not template.is_file():
            raise BaseModelsInvalid(f"{path}: base_model {entry.name!r}: there is no chat template {template}")
        entry = entry.model_copy(update={"chat_template": template})
    return entry
