"""How often each label was seen that no bin of a profile counts by itself"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PROFILES = ("profile_plan", "hour_profile", "live_profile")


def upgrade() -> None:
    for table in PROFILES:
        op.add_column(table, sa.Column("labels", sa.LargeBinary(), server_default="", nullable=False))
    op.add_column("drift_verdict", sa.Column("labels", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    for table in (*PROFILES, "drift_verdict"):
        op.drop_column(table, "labels")
