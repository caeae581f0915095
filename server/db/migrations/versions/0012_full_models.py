"""Fine-tuned models with weights of their own, served by engines of their own"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("fine_tuned_model", sa.Column("is_full", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("ix_fine_tuned_model_is_full", "fine_tuned_model", ["is_full"], sqlite_where=sa.text("is_full"))
