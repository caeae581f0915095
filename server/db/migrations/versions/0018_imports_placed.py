"""How far an import of an adapter is, and the memory that the trainer takes which looks at it"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("model_import", sa.Column("stage", sa.String(length=40), nullable=False, server_default="waiting"))
    op.add_column("model_import", sa.Column("needed_bytes", sa.Integer(), nullable=False, server_default="0"))
