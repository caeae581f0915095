"""A process that passes metrics on is told everything again, so that nothing is kept of how far it was"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("integration") as table:
        table.drop_column("last_event_seq")
