"""Vector stores: their files, the chunks of these with their vectors, and batches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "vector_stores",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("used_at", sa.Double, nullable=False),
        sa.Column("expires_days", sa.Integer),
        sa.Column("expires_at", sa.Double),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("dimensions", sa.Integer, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("metadata", sa.LargeBinary, nullable=False),
    )
    op.create_index("vector_stores_used", "vector_stores", ["used_at"])
    op.create_index("vector_stores_listed", "vector_stores", ["owner", "created_at", "id"])
    op.create_table(
        "vector_store_batches",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("vector_store_id", sa.Text, sa.ForeignKey("vector_stores.id", ondelete="CASCADE"), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("cancelled", sa.Boolean, nullable=False),
    )
    op.create_index("vector_store_batches_of", "vector_store_batches", ["vector_store_id"])
    op.create_table(
        "vector_store_files",
        sa.Column("vector_store_id", sa.Text, sa.ForeignKey("vector_stores.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("file_id", sa.Text, sa.ForeignKey("files.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("batch_id", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("error_code", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("claim", sa.Text),
        sa.Column("lease_until", sa.Double),
        sa.Column("chunk_tokens", sa.Integer, nullable=False),
        sa.Column("overlap_tokens", sa.Integer, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("attributes", sa.LargeBinary, nullable=False),
    )
    op.create_index("vector_store_files_file", "vector_store_files", ["file_id"])
    op.create_index("vector_store_files_batch", "vector_store_files", ["batch_id"])
    op.create_index("vector_store_files_lease", "vector_store_files", ["status", "lease_until"])
    op.create_table(
        "vector_store_chunks",
        sa.Column("vector_store_id", sa.Text, primary_key=True),
        sa.Column("file_id", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("vectors", sa.LargeBinary, nullable=False),
        sa.Column("text", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["vector_store_id", "file_id"],
            ["vector_store_files.vector_store_id", "vector_store_files.file_id"],
            ondelete="CASCADE",
        ),
    )
