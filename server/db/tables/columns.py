"""What tables are made of. A table that belongs to a project inherits `ProjectOwned`, which is what confines it."""

from enum import StrEnum

from sqlalchemy import Enum
from sqlmodel import Field, SQLModel


def words(vocabulary: type[StrEnum]) -> Enum:
    """A column of words as clients see them; the vocabulary may grow without a migration."""
    return Enum(vocabulary, native_enum=False, length=40, values_callable=lambda words: [word.value for word in words])


class ProjectOwned(SQLModel):
    """Rows that only their project's sessions can see."""

    project_id: str = Field(foreign_key="project.id", index=True)
