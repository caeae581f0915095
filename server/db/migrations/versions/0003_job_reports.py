"""What was found in a job's data, what it was estimated to take and what it took"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_report",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("data_gate", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("estimate", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("measured", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"]),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.create_index("ix_job_report_project_id", "job_report", ["project_id"])
    op.add_column("job", sa.Column("data_options", sa.JSON(none_as_null=True), nullable=True))
