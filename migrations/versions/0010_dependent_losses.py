"""Performance that can be believed: how dependent losses are, and estimates while labels are missing"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("performance_watch", sa.Column("design_effect", sa.Double(), nullable=True))
    op.add_column(
        "performance_watch",
        sa.Column("learnt_from", sa.BigInteger(), server_default="0", nullable=False),
    )
    op.add_column("performance_verdict", sa.Column("design_effect", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("performance_verdict", "design_effect")
    op.drop_column("performance_watch", "learnt_from")
    op.drop_column("performance_watch", "design_effect")
