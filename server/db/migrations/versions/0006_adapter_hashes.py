"""Which weights stand behind a fine-tuned model's name"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("fine_tuned_model", sa.Column("sha256", sa.String(), nullable=True))
