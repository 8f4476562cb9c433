"""Signals: the latest figures of versions, looks at the quality of inputs, regimes of series, roll-ups"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, insert

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

RULE = {
    "name": "regime-change",
    "signal": "regime_changes",
    "comparison": "above",
    "threshold": 0.0,
    "severity": "info",
    "window_seconds": 3600,
    "consecutive": 1,
    "cooldown_seconds": 900,
}
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
    create_regimes()
    create_rollups()
    start = RULE | {"enabled": True, "changed_at": datetime.now(UTC), "changed_by": "bootstrap"}
    rules = sa.table("alert_rule", *map(sa.column, start))
    op.execute(insert(rules).values(start).on_conflict_do_nothing())


def create_regimes() -> None:
    op.create_table(
        "regime_monitor",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "column",
                "metric",
                "posted",
                name="serieskind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("mean_run", sa.Double(), nullable=False),
        sa.Column("state", JSONB(), nullable=True),
        sa.Column("values", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("level", sa.Text(), nullable=True),
        sa.Column("volatility", sa.Text(), nullable=True),
        sa.Column("mean", sa.Double(), nullable=True),
        sa.Column("deviation", sa.Double(), nullable=True),
        sa.Column("regime_values", sa.BigInteger(), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_regime_monitor")),
        sa.UniqueConstraint("model_id", "name", name=op.f("uq_regime_monitor_model_id_name")),
    )
    op.create_table(
        "regime_value",
        sa.Column("monitor_id", sa.Uuid(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("monitor_id", "place", name=op.f("pk_regime_value")),
        sa.UniqueConstraint("monitor_id", "at", name=op.f("uq_regime_value_monitor_id_at")),
        sa.ForeignKeyConstraint(
            ["monitor_id"],
            ["regime_monitor.id"],
            name=op.f("fk_regime_value_monitor_id_regime_monitor"),
            ondelete="CASCADE",
        ),
    )
    numbers = ("mean", "deviation", "mean_before", "deviation_before")
    words = ("level", "volatility", "level_before", "volatility_before")
    op.create_table(
        "regime_change",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("monitor_id", sa.Uuid(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delay_values", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=False) for name in numbers),
        *(sa.Column(name, sa.Text(), nullable=False) for name in words),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_regime_change")),
        sa.ForeignKeyConstraint(
            ["monitor_id"],
            ["regime_monitor.id"],
            name=op.f("fk_regime_change_monitor_id_regime_monitor"),
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_regime_change_monitor", "regime_change", ["monitor_id", "id"])


def create_rollups() -> None:
    op.add_column("live_profile", sa.Column("minutes", sa.BigInteger(), server_default="5", nullable=False))
    op.create_table(
        "drift_hour",
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=False) for name in ("score", "low", "high")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("rows", "checks")),
        sa.Column("drift_detected", sa.Boolean(), nullable=False),
        sa.Column(
            "recommendation",
            sa.Enum(
                "NO_ACTION_NEEDED",
                "RETRAIN_SOON",
                "RETRAIN_IMMEDIATELY",
                name="recommendation",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "environment", "at", name=op.f("pk_drift_hour")),
    )


def downgrade() -> None:
    op.drop_table("drift_hour")
    op.drop_column("live_profile", "minutes")
    op.execute("DELETE FROM alert_rule WHERE signal = 'regime_changes'")
    for name in ("regime_change", "regime_value", "regime_monitor"):
        op.drop_table(name)
    op.drop_table("quality_verdict")
    op.drop_table("latest_figure")
