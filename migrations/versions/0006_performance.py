"""What came true of predictions, as sums by time; baselines, watches and verdicts of performance"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MARK_ALL = """
    INSERT INTO outcome_mark (model, bucket, due_at)
    SELECT DISTINCT model, date_bin('5 minutes', at, 'epoch'), now() FROM prediction
"""


def upgrade() -> None:
    op.create_table(
        "outcome_mark",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("bucket", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outcome_mark")),
    )
    op.create_index("ix_outcome_mark_bucket", "outcome_mark", ["model", "bucket"])
    op.create_table(
        "live_outcome",
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("minutes", sa.BigInteger(), nullable=False),
        sa.Column("bucket", sa.DateTime(timezone=True), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("shadow", sa.Boolean(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("labelled", sa.BigInteger(), nullable=False),
        sa.Column("sums", postgresql.JSON(none_as_null=True), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "version_id", "minutes", "bucket", "environment", "arm", "shadow", name=op.f("pk_live_outcome")
        ),
    )
    op.create_index("ix_live_outcome_model", "live_outcome", ["model", "minutes", "bucket"])
    op.create_index("ix_live_outcome_made", "live_outcome", ["minutes", "made_at"])
    op.execute(MARK_ALL)
    op.create_table(
        "performance_baseline",
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("kind", choice("kind", "evaluation", "stated", "first_labels"), nullable=False),
        sa.Column("labelled", sa.BigInteger(), nullable=False),
        sa.Column("sums", postgresql.JSON(none_as_null=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_performance_baseline")),
    )
    op.create_table(
        "performance_watch",
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("looked", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("origin", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fallen_since", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("version_id", "environment", name=op.f("pk_performance_watch")),
    )
    op.create_table("performance_verdict", *verdict_columns())
    op.create_index("ix_performance_verdict_model", "performance_verdict", ["model_id", "at"])


def verdict_columns() -> list[sa.Column | sa.PrimaryKeyConstraint]:
    findings = ("fallen", "holding", "undecided", "insufficient_data", "no_baseline")
    advice = ("NO_ACTION_NEEDED", "RETRAIN_SOON", "RETRAIN_IMMEDIATELY")
    known = ("value", "low", "high", "baseline", "loss", "loss_low", "loss_high")
    return [
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("version_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("labelled", sa.BigInteger(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("finding", choice("finding", *findings), nullable=False),
        sa.Column("recommendation", choice("recommendation", *advice), nullable=False),
        sa.Column("metric", sa.Text(), nullable=True),
        *(sa.Column(name, sa.Float(), nullable=True) for name in known),
        sa.Column("false_alarms", sa.Float(), nullable=False),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.Column("sums", postgresql.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_performance_verdict")),
    ]


def choice(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)


def downgrade() -> None:
    op.drop_table("performance_verdict")
    op.drop_table("performance_watch")
    op.drop_table("performance_baseline")
    op.drop_table("live_outcome")
    op.drop_table("outcome_mark")
