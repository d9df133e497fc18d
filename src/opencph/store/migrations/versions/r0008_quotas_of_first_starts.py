"""Quotas hold what an operator set; the limits that a first start wrote down are the settings' from now on."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DELETE FROM quotas")


def downgrade() -> None:
    """Nothing to bring back: the settings hold."""
