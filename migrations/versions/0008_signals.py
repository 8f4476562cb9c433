"""Signals: the latest figures of versions"""

import sqlalchemy as sa
from alembic import op

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


def downgrade() -> None:
    op.drop_table("latest_figure")
