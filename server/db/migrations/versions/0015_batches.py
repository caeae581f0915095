"""Batches, and whether usage is theirs"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
_COUNTS = ("total", "completed", "failed", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
_OF_USAGE = ("requests", "finished", "prompt_tokens", "cached_tokens", "completion_tokens")
_KEY = ("project_id", "key_id", "model", "base_model", "minute")


def upgrade() -> None:
    op.create_table(
        "batch",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("status", sa.String(40), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("input_file_id", sa.String(), nullable=False),
        sa.Column("completion_window", sa.String(), nullable=False),
        sa.Column("batch_metadata", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("output_expires_after_s", sa.Integer(), nullable=True),
        sa.Column("model", sa.String(), nullable=True),
        sa.Column("errors", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("output_file_id", sa.String(), nullable=True),
        sa.Column("error_file_id", sa.String(), nullable=True),
        sa.Column("created_at", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.Integer(), nullable=False),
        *[sa.Column(f"{name}_at", sa.Integer(), nullable=True) for name in _TIMES],
        *[sa.Column(name, sa.Integer(), nullable=False) for name in _COUNTS],
        sa.ForeignKeyConstraint(["project_id"], ["project.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_batch_project_id_seq", "batch", ["project_id", "seq"])
    op.create_index("ix_batch_seq", "batch", ["seq"])
    unfinished = sa.text("status IN ('validating', 'in_progress', 'finalizing', 'cancelling')")
    op.create_index("ix_batch_unfinished", "batch", ["seq"], sqlite_where=unfinished)
    _key_usage_by_batch()


def _key_usage_by_batch() -> None:
    """SQLite changes no primary key: the rows move into a new table."""
    op.create_table(
        "usage_by_batch",
        *[sa.Column(name, sa.Integer() if name == "minute" else sa.String(), nullable=False) for name in _KEY],
        sa.Column("is_batch", sa.Boolean(), nullable=False),
        *[sa.Column(name, sa.Integer(), nullable=False) for name in _OF_USAGE],
        sa.ForeignKeyConstraint(["project_id"], ["project.id"]),
        sa.PrimaryKeyConstraint(*_KEY, "is_batch"),
    )
    kept = ", ".join((*_KEY, *_OF_USAGE))
    op.execute(f"INSERT INTO usage_by_batch (is_batch, {kept}) SELECT 0, {kept} FROM usage")
    op.drop_table("usage")
    op.rename_table("usage_by_batch", "usage")
    op.create_index("ix_usage_minute", "usage", ["minute"])
