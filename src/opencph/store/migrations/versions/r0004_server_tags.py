"""Tags of servers."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "server_tags",
        sa.Column("server_id", sa.Text(), nullable=False),
        sa.Column("tag_key", sa.Text(), nullable=False),
        sa.Column("tag_value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["server_id"], ["servers.server_id"], name=op.f("fk_server_tags_server_id_servers"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("server_id", "tag_key", name=op.f("pk_server_tags")),
    )
    op.create_index("ix_server_tags_key", "server_tags", ["tag_key", "tag_value"], unique=False)
