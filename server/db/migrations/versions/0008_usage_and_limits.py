"""Usage by minute, how far its journals are read, limits of projects, and how fast jobs train"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for limit in ("requests_per_minute", "tokens_per_minute", "max_concurrent_answers"):
        op.add_column("project", sa.Column(limit, sa.Integer(), nullable=True))
    op.add_column("job", sa.Column("training_tokens_per_s", sa.Float(), nullable=True))
    op.create_table(
        "usage",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("base_model", sa.String(), nullable=False),
        sa.Column("minute", sa.Integer(), nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("finished", sa.Integer(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("cached_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"]),
        sa.PrimaryKeyConstraint("project_id", "key_id", "model", "base_model", "minute"),
    )
    op.create_index("ix_usage_minute", "usage", ["minute"])
    op.create_table(
        "usage_journal",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
