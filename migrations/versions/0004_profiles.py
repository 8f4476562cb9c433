"""What the rows of a version look like: the axes of each, and counts along them by time"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

VIEW = """
    CREATE VIEW live_profile_cell AS
    SELECT version_id, bucket, environment, arm, shadow, spool, cell / 132 AS column_number, cell % 132 AS cell,
           get_byte(counts, 4 * cell) + (get_byte(counts, 4 * cell + 1) << 8)
           + (get_byte(counts, 4 * cell + 2) << 16) + (get_byte(counts, 4 * cell + 3)::bigint << 24) AS count
    FROM live_profile, generate_series(0, length(counts) / 4 - 1) AS cell
"""


def upgrade() -> None:
    op.create_table(
        "profile_plan",
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("kind", choice("kind", "sample", "first_rows"), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("columns", postgresql.JSON(none_as_null=True), nullable=False),
        sa.Column("counts", sa.LargeBinary(), nullable=False),
        sa.Column("sums", sa.LargeBinary(), nullable=False),
        sa.Column("extremes", sa.LargeBinary(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_profile_plan")),
    )
    op.create_table(
        "live_profile",
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("bucket", sa.DateTime(timezone=True), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("shadow", sa.Boolean(), nullable=False),
        sa.Column("spool", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("counts", sa.LargeBinary(), nullable=False),
        sa.Column("sums", sa.LargeBinary(), nullable=False),
        sa.Column("extremes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint(
            "version_id", "bucket", "environment", "arm", "shadow", "spool", name=op.f("pk_live_profile")
        ),
    )
    op.create_index(op.f("ix_live_profile_bucket"), "live_profile", ["bucket"])
    op.execute(VIEW)
    op.create_table(
        "monitor",
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("interval_minutes", sa.BigInteger(), nullable=False),
        sa.Column("window_hours", sa.Float(), nullable=False),
        sa.Column("drift_threshold", sa.Float(), nullable=False),
        sa.Column("false_alarms", sa.Float(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_monitor")),
    )
    op.create_table(
        "watch",
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("looked", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("origin", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_bucket", sa.DateTime(timezone=True), nullable=True),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("drifted_since", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("version_id", "environment", name=op.f("pk_watch")),
    )
    op.create_table(
        "drift_verdict",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column(
            "finding", choice("finding", "drift", "no_relevant_drift", "too_little_data"), nullable=False
        ),
        sa.Column(
            "recommendation",
            choice("recommendation", "NO_ACTION_NEEDED", "RETRAIN_SOON", "RETRAIN_IMMEDIATELY"),
            nullable=False,
        ),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("low", sa.Float(), nullable=False),
        sa.Column("high", sa.Float(), nullable=False),
        sa.Column("false_alarms", sa.Float(), nullable=False),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.Column("columns", postgresql.JSONB(), nullable=False),
        sa.Column("counts", sa.LargeBinary(), nullable=True),
        sa.Column("sums", sa.LargeBinary(), nullable=True),
        sa.Column("extremes", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_verdict")),
    )
    op.create_index(op.f("ix_drift_verdict_model"), "drift_verdict", ["model_id", "at"])


def choice(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)


def downgrade() -> None:
    op.drop_table("drift_verdict")
    op.drop_table("watch")
    op.drop_table("monitor")
    op.execute("DROP VIEW live_profile_cell")
    op.drop_table("live_profile")
    op.drop_table("profile_plan")
