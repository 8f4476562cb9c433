"""Alerts: rules, the first of them from the start; standings, incidents, silences, channels, deliveries"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NAMES = (
    "name",
    "signal",
    "comparison",
    "threshold",
    "severity",
    "window_seconds",
    "consecutive",
    "cooldown_seconds",
)
RULES = (
    ("accuracy-drop", "accuracy_drop", "above", 0.05, "critical", 3600, 1, 900),
    ("latency", "latency_ms", "above", 1000.0, "warning", 300, 1, 900),
    ("drift", "drift", "above", 0.1, "warning", 86400, 1, 21600),
    ("error-rate", "error_rate", "above", 0.05, "critical", 300, 2, 900),
    ("pipeline-failures", "pipeline_failures", "above", 0.0, "critical", 604800, 2, 900),
    ("training-failure", "training_failure", "above", 0.0, "warning", 86400, 1, 900),
    ("deployment-failure", "deployment_failure", "above", 0.0, "critical", 86400, 1, 900),
    ("quality-score", "quality_score", "below", 0.8, "warning", 3600, 1, 900),
)


def upgrade() -> None:
    op.create_table(
        "alert_channel",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "webhook",
                "slack",
                "pagerduty",
                "email",
                "apprise",
                name="channelkind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("from_environment", sa.Boolean(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_alert_channel")),
    )
    op.create_table(
        "alert_rule",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("signal", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column(
            "comparison",
            sa.Enum(
                "above", "below", name="comparison", native_enum=False, create_constraint=True, length=32
            ),
            nullable=False,
        ),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("window_seconds", sa.BigInteger(), nullable=False),
        sa.Column(
            "severity",
            sa.Enum(
                "info",
                "warning",
                "critical",
                name="severity",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("consecutive", sa.BigInteger(), nullable=False),
        sa.Column("cooldown_seconds", sa.BigInteger(), nullable=False),
        sa.Column("channels", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_alert_rule")),
    )
    op.create_table(
        "incident",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("signal", sa.Text(), nullable=False),
        sa.Column(
            "severity",
            sa.Enum(
                "info",
                "warning",
                "critical",
                name="severity",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column(
            "comparison",
            sa.Enum(
                "above", "below", name="comparison", native_enum=False, create_constraint=True, length=32
            ),
            nullable=False,
        ),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("worst", sa.Double(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("looks", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("acknowledge_note", sa.Text(), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolved_by", sa.Text(), nullable=True),
        sa.Column("resolve_note", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incident")),
    )
    op.create_index("ix_incident_model", "incident", ["model", "id"], unique=False)
    op.create_index("ix_incident_rule", "incident", ["rule", "id"], unique=False)
    op.create_index(
        "uq_incident_open",
        "incident",
        ["fingerprint"],
        unique=True,
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.create_table(
        "silence",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_silence")),
    )
    op.create_table(
        "alert_delivery",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("incident_id", sa.Uuid(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column(
            "event",
            sa.Enum(
                "opened",
                "resolved",
                "test",
                name="event",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("body", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "delivered",
                "given_up",
                name="deliverystate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["incident_id"],
            ["incident.id"],
            name=op.f("fk_alert_delivery_incident_id_incident"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_delivery")),
    )
    op.create_index("ix_alert_delivery_channel", "alert_delivery", ["channel", "id"], unique=False)
    op.create_index("ix_alert_delivery_incident", "alert_delivery", ["incident_id", "id"], unique=False)
    op.create_table(
        "alert_standing",
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("breaches", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("wells", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("is_open", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("judged", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["rule"], ["alert_rule.name"], name=op.f("fk_alert_standing_rule_alert_rule"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("rule", "subject", name=op.f("pk_alert_standing")),
    )
    alike = {"enabled": True, "changed_at": datetime.now(UTC), "changed_by": "bootstrap"}
    rules = sa.table("alert_rule", *map(sa.column, [*NAMES, *alike]))
    op.bulk_insert(rules, [dict(zip(NAMES, rule, strict=True)) | alike for rule in RULES])


def downgrade() -> None:
    op.drop_table("alert_standing")
    op.drop_index("ix_alert_delivery_incident", table_name="alert_delivery")
    op.drop_index("ix_alert_delivery_channel", table_name="alert_delivery")
    op.drop_table("alert_delivery")
    op.drop_table("silence")
    op.drop_index("uq_incident_open", table_name="incident", postgresql_where=sa.text("resolved_at IS NULL"))
    op.drop_index("ix_incident_rule", table_name="incident")
    op.drop_index("ix_incident_model", table_name="incident")
    op.drop_table("incident")
    op.drop_table("alert_rule")
    op.drop_table("alert_channel")
