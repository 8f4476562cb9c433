"""Signals: the latest figures of versions, looks at the quality of inputs"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0005"
branch_labels = None
depends_on = None

FIGURES = ("accuracy", "label_coverage", "drift_score", "drift_detected", "quality_score")


def upgrade() -> None:
    op.create_table(
        "latest_figure",
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column(
            "figure",
            sa.Enum(*FIGURES, name="figure", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("version_id", "environment", "figure", name=op.f("pk_latest_figure")),
    )
    op.create_table(
        "quality_verdict",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.Double(), nullable=False),
        sa.Column("repeated", sa.Double(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("columns", JSONB(), nullable=False),
        sa.Column("reasons", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quality_verdict")),
    )
    op.create_index("ix_quality_verdict_version", "quality_verdict", ["version_id", "environment", "at"])
    op.create_index("ix_quality_verdict_at", "quality_verdict", ["at"])


def downgrade() -> None:
    op.drop_table("quality_verdict")
    op.drop_table("latest_figure")
