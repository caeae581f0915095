"""What another process needs to go on with a response in the background, and how much each one takes"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("response", sa.Column("asked", sa.LargeBinary(), nullable=True))
    op.add_column("response", sa.Column("key_id", sa.String(), nullable=False, server_default=""))
    op.add_column("response", sa.Column("n_runners", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("response", sa.Column("size_bytes", sa.Integer(), nullable=False, server_default="0"))
    op.execute(
        "UPDATE response SET size_bytes = length(body) + coalesce((SELECT sum(length(response_item.body)) "
        "FROM response_item WHERE response_item.response_id = response.id), 0)"
    )
    op.create_index("ix_response_project_id_created_at", "response", ["project_id", "created_at", "size_bytes"])
