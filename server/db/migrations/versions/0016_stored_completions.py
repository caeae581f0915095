"""Stored chat completions, and what a project may keep of them"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("project", sa.Column("stored_completion_days", sa.Integer(), nullable=True))
    op.add_column("project", sa.Column("stored_completion_mib", sa.Integer(), nullable=True))
    op.create_table(
        "stored_completion",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("created_at", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("shown", sa.LargeBinary(), nullable=False),
        sa.Column("messages", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"]),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("project_id", "id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_stored_completion_project_id_created_at_seq", "stored_completion", ["project_id", "created_at", "seq"]
    )
    op.create_table(
        "stored_completion_label",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("completion_seq", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("created_at", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"]),
        sa.ForeignKeyConstraint(["completion_seq"], ["stored_completion.seq"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("completion_seq", "name"),
    )
    op.create_index(
        "ix_stored_completion_label_order",
        "stored_completion_label",
        ["project_id", "name", "value", "created_at", "completion_seq"],
    )
    op.create_table(
        "stored_completion_gone",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Integer(), nullable=False),
        sa.Column("deleted_at", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"]),
        sa.PrimaryKeyConstraint("project_id", "id"),
    )
    op.create_index("ix_stored_completion_gone_deleted_at", "stored_completion_gone", ["deleted_at"])
    op.create_table(
        "stored_completion_total",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"]),
        sa.PrimaryKeyConstraint("project_id"),
    )
    op.create_table(
        "completion_export",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("created_at", sa.Integer(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_completion_export_project_id", "completion_export", ["project_id"])
    op.create_index("ix_completion_export_created_at", "completion_export", ["created_at"])
