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
        sa.Column(
            "kind",
            sa.Enum("sample", "first_rows", name="kind", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
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
    op.execute(VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW live_profile_cell")
    op.drop_table("live_profile")
    op.drop_table("profile_plan")
