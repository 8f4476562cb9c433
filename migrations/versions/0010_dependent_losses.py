"""Performance that can be believed: dependent losses, rows counted as they come, estimates while labels are missing"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COUNT_WAITING = (
    """
    DELETE FROM live_outcome USING outcome_mark AS mark
    WHERE live_outcome.minutes = 5 AND live_outcome.model = mark.model AND live_outcome.bucket = mark.bucket
    """,
    """
    INSERT INTO outcome_mark (model, bucket, due_at, version_id, version, environment, arm, shadow, rows, answers)
    SELECT model, bucket, now(), version_id, version, environment, arm, shadow, sum(rows), json_object_agg(answer, rows)
    FROM (
        SELECT mark.model, mark.bucket, version_id, version, environment, coalesce(arm, '') AS arm, shadow,
            CAST(output AS text) AS answer, count(*) AS rows
        FROM (SELECT DISTINCT model, bucket FROM outcome_mark) AS mark
        JOIN prediction ON prediction.model = mark.model AND prediction.at >= mark.bucket
            AND prediction.at < mark.bucket + interval '5 minutes' AND output IS NOT NULL
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    ) AS counted GROUP BY model, bucket, version_id, version, environment, arm, shadow
    """,
)
"""Rows are counted as they come from now on; those that nobody had counted yet are counted here, once."""


def arrived() -> list[sa.Column[Any]]:
    return [
        sa.Column("version_id", sa.Uuid(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=True),
        sa.Column("environment", sa.Text(), nullable=True),
        sa.Column("arm", sa.Text(), nullable=True),
        sa.Column("shadow", sa.Boolean(), nullable=True),
        sa.Column("rows", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("answers", JSON(none_as_null=True), nullable=True),
    ]


FIGURES = ("accuracy", "label_coverage", "drift_score", "drift_detected", "quality_score")


def allow_figures(*figures: str) -> None:
    """Figures are checked by the database: let it be these."""
    names = ", ".join(f"'{figure}'" for figure in figures)
    op.drop_constraint(op.f("ck_latest_figure_figure"), "latest_figure")
    op.create_check_constraint(op.f("ck_latest_figure_figure"), "latest_figure", f"figure IN ({names})")


def upgrade() -> None:
    for column in arrived():
        op.add_column("outcome_mark", column)
    for statement in COUNT_WAITING:
        op.execute(statement)
    op.add_column("performance_watch", sa.Column("design_effect", sa.Double(), nullable=True))
    op.add_column(
        "performance_watch",
        sa.Column("learnt_from", sa.BigInteger(), server_default="0", nullable=False),
    )
    op.add_column("performance_verdict", sa.Column("design_effect", sa.Double(), nullable=True))
    op.add_column(
        "performance_verdict", sa.Column("estimated", sa.Boolean(), server_default="false", nullable=False)
    )
    op.create_table(
        "estimate_watch",
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("looks", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fallen_since", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("version_id", "environment", name=op.f("pk_estimate_watch")),
    )
    allow_figures(*FIGURES, "estimated_accuracy")


def downgrade() -> None:
    for column in arrived():
        op.drop_column("outcome_mark", column.name)
    op.execute("DELETE FROM latest_figure WHERE figure = 'estimated_accuracy'")
    allow_figures(*FIGURES)
    op.drop_table("estimate_watch")
    op.drop_column("performance_verdict", "estimated")
    op.drop_column("performance_verdict", "design_effect")
    op.drop_column("performance_watch", "learnt_from")
    op.drop_column("performance_watch", "design_effect")
