"""Alembic's entry: runs the migrations on the connection it is given, as one transaction."""

from alembic import context
from sqlmodel import SQLModel

from server.db import tables  # noqa: F401  # fills the metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
