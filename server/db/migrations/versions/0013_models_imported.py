"""Fine-tuned models that no job made, and imports of adapters"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model_import",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Integer(), nullable=False),
        sa.Column("finished_at", sa.Integer(), nullable=True),
        sa.Column("status", sa.String(length=40), nullable=False),
        sa.Column("base_model", sa.String(), nullable=False),
        sa.Column("model_name", sa.String(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("error_code", sa.String(), nullable=True),
        sa.Column("error_message", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in ("project_id", "seq", "status"):
        op.create_index(f"ix_model_import_{column}", "model_import", [column])
    _let_models_be_without_a_job()


def _let_models_be_without_a_job() -> None:
    """SQLite makes the table anew for this; what refers to its rows has to be away meanwhile."""
    connection = op.get_bind()
    connection.exec_driver_sql("CREATE TEMPORARY TABLE permission_kept AS SELECT * FROM checkpoint_permission")
    connection.exec_driver_sql("DELETE FROM checkpoint_permission")
    with op.batch_alter_table("fine_tuned_model") as table:
        table.alter_column("job_id", existing_type=sa.String(), nullable=True)
    connection.exec_driver_sql("INSERT INTO checkpoint_permission SELECT * FROM permission_kept")
    connection.exec_driver_sql("DROP TABLE permission_kept")
