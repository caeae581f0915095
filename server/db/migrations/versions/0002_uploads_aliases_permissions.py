"""Uploads, aliases, permissions, integrations, remembered requests"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model_alias",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("created_at", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project_id", "name"),
    )
    op.create_index("ix_model_alias_project_id", "model_alias", ["project_id"])

    op.create_table(
        "remembered_request",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=True),
        sa.Column("object_id", sa.String(), nullable=True),
        sa.Column("answer_status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("is_original_seen", sa.Boolean(), nullable=False),
        sa.Column("last_retry", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project_id", "idempotency_key"),
    )
    op.create_index("ix_remembered_request_created_at", "remembered_request", ["created_at"])
    op.create_index("ix_remembered_request_fingerprint", "remembered_request", ["fingerprint"])
    op.create_index("ix_remembered_request_project_id", "remembered_request", ["project_id"])

    op.create_table(
        "upload",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(40), nullable=False),
        sa.Column("mime_type", sa.String(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.Integer(), nullable=False),
        sa.Column("file_expires_after_s", sa.Integer(), nullable=True),
        sa.Column("status", sa.String(40), nullable=False),
        sa.Column("file_id", sa.String(), nullable=True),
        sa.Column("part_ids", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_upload_project_id", "upload", ["project_id"])
    op.create_index("ix_upload_status", "upload", ["status"])

    op.create_table(
        "integration",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("last_event_seq", sa.Integer(), nullable=False),
        sa.Column("is_finished", sa.Boolean(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["job.id"],
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("job_id", "position"),
    )
    op.create_index("ix_integration_is_finished", "integration", ["is_finished"])
    op.create_index("ix_integration_job_id", "integration", ["job_id"])
    op.create_index("ix_integration_project_id", "integration", ["project_id"])

    op.create_table(
        "upload_part",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("upload_id", sa.String(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("created_at", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
        ),
        sa.ForeignKeyConstraint(
            ["upload_id"],
            ["upload.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_upload_part_project_id", "upload_part", ["project_id"])
    op.create_index("ix_upload_part_upload_id", "upload_part", ["upload_id"])

    op.create_table(
        "checkpoint_permission",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("model_name", sa.String(), nullable=False),
        sa.Column("allowed_project_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["allowed_project_id"],
            ["project.id"],
        ),
        sa.ForeignKeyConstraint(
            ["model_name"],
            ["fine_tuned_model.name"],
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("model_name", "allowed_project_id"),
    )
    op.create_index("ix_checkpoint_permission_allowed_project_id", "checkpoint_permission", ["allowed_project_id"])
    op.create_index("ix_checkpoint_permission_model_name", "checkpoint_permission", ["model_name"])
    op.create_index("ix_checkpoint_permission_project_id", "checkpoint_permission", ["project_id"])
    op.create_index("ix_checkpoint_permission_seq", "checkpoint_permission", ["seq"])
    op.create_index("ix_file_expires_at", "file", ["expires_at"])
    op.create_index("ix_fine_tuned_model_deleted_at", "fine_tuned_model", ["deleted_at"])
    op.add_column("job", sa.Column("integrations", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("job", sa.Column("parent_model", sa.String(), nullable=True))
    op.add_column("job", sa.Column("origin", sa.String(), nullable=True))
    op.add_column("job", sa.Column("rerun_of", sa.String(), nullable=True))
    op.add_column("job", sa.Column("imported", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("project", sa.Column("wandb_api_key", sa.String(), nullable=True))
    op.drop_index("ix_file_project_id", "file")
    op.create_index("ix_file_project_id_seq", "file", ["project_id", "seq"])
    op.drop_index("ix_fine_tuned_model_project_id", "fine_tuned_model")
    op.create_index("ix_fine_tuned_model_project_id_seq", "fine_tuned_model", ["project_id", "seq"])
    op.drop_index("ix_job_project_id", "job")
    op.create_index("ix_job_project_id_seq", "job", ["project_id", "seq"])
    op.create_index("ix_job_stage", "job", ["stage"], sqlite_where=sa.text("stage IS NOT NULL"))
    op.drop_index("ix_job_event_project_id", "job_event")
