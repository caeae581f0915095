"""What answers came to."""

from sqlmodel import Field, SQLModel

from server.db.tables.columns import ProjectOwned


class UsageRow(ProjectOwned, table=True):
    """What was used in a minute, by project, key, model, and whether a batch asked."""

    __tablename__ = "usage"

    project_id: str = Field(foreign_key="project.id", primary_key=True)
    key_id: str = Field(primary_key=True)  # of the API key; one of the settings has a name in its place
    model: str = Field(primary_key=True)  # as clients asked for it
    base_model: str = Field(primary_key=True)
    minute: int = Field(primary_key=True, index=True)  # unix seconds of its beginning
    is_batch: bool = Field(default=False, primary_key=True)
    requests: int
    finished: int  # of the requests; the others are cut, or under way
    prompt_tokens: int
    cached_tokens: int  # of the prompt's
    completion_tokens: int


class UsageJournalRow(SQLModel, table=True):
    """How far a journal of usage is in the table."""

    __tablename__ = "usage_journal"

    name: str = Field(primary_key=True)  # of its file
    position: int  # bytes
