"""The hours of the week, how rows depend on each other, and windows counted by time"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("profile_plan", sa.Column("row_order", postgresql.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "hour_profile",
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("counts", sa.LargeBinary(), nullable=False),
        sa.Column("sums", sa.LargeBinary(), nullable=False),
        sa.Column("extremes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("version_id", "environment", "hour", name=op.f("pk_hour_profile")),
    )
    # A watch counted buckets with rows; it counts five minutes from `started_at` now, and begins anew.
    op.execute("DELETE FROM watch")
    op.drop_column("watch", "last_bucket")
    op.add_column("watch", sa.Column("started_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("watch", sa.Column("buckets", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("watch", sa.Column("dependence", postgresql.JSONB(none_as_null=True), nullable=True))
    op.add_column("watch", sa.Column("season_from", sa.DateTime(timezone=True), nullable=True))
    op.add_column("drift_verdict", sa.Column("basis", postgresql.JSONB(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column("drift_verdict", "basis")
    for column in ("season_from", "dependence", "buckets", "started_at"):
        op.drop_column("watch", column)
    op.execute("DELETE FROM watch")
    op.add_column("watch", sa.Column("last_bucket", sa.DateTime(timezone=True), nullable=True))
    op.drop_table("hour_profile")
    op.drop_column("profile_plan", "row_order")
