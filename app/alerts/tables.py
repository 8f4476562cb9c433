"""Rules, how their subjects stand, incidents, silences, channels and deliveries."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from app.alerts.kinds import ChannelKind, DeliveryState, Event
from app.alerts.rules import Comparison, RuleTerms, Severity, Signal, Standing
from app.core.database import Base, choice
from app.core.ids import new_id


class AlertRule(Base):
    """What is taken for unwell; see `RuleTerms` for its terms."""

    __tablename__ = "alert_rule"

    name: Mapped[str] = mapped_column(primary_key=True)
    signal: Mapped[str]
    model: Mapped[str | None]
    comparison: Mapped[Comparison] = mapped_column(choice(Comparison))
    threshold: Mapped[float]
    window_seconds: Mapped[int]
    severity: Mapped[Severity] = mapped_column(choice(Severity))
    consecutive: Mapped[int]
    cooldown_seconds: Mapped[int]
    channels: Mapped[list[str] | None]
    enabled: Mapped[bool]
    changed_at: Mapped[datetime]
    changed_by: Mapped[str]
    looked_at: Mapped[datetime | None]

    @property
    def terms(self) -> RuleTerms:
        """The rule as data."""
        return RuleTerms(
            signal=Signal(self.signal),
            threshold=self.threshold,
            severity=self.severity,
            window_seconds=self.window_seconds,
            comparison=self.comparison,
            consecutive=self.consecutive,
            cooldown_seconds=self.cooldown_seconds,
            model=self.model,
            channels=self.channels,
            enabled=self.enabled,
        )


class StandingRow(Base):
    """How one subject stands under one rule; locked by whoever judges it."""

    __tablename__ = "alert_standing"

    rule: Mapped[str] = mapped_column(ForeignKey("alert_rule.name", ondelete="CASCADE"), primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    breaches: Mapped[int] = mapped_column(server_default="0")
    wells: Mapped[int] = mapped_column(server_default="0")
    is_open: Mapped[bool] = mapped_column(server_default=text("false"))
    resolved_at: Mapped[datetime | None]
    judged: Mapped[int] = mapped_column(server_default="0")
    """The number of the last fact that was judged."""

    @property
    def standing(self) -> Standing:
        """What the state machine goes on from."""
        return Standing(self.breaches, self.wells, self.is_open, self.resolved_at)

    def take(self, standing: Standing) -> None:
        """Be what the state machine says."""
        self.breaches, self.wells = standing.breaches, standing.wells
        self.is_open, self.resolved_at = standing.is_open, standing.resolved_at


class Incident(Base):
    """Something that is or was unwell; at most one of a fingerprint is open."""

    __tablename__ = "incident"
    __table_args__ = (
        Index("uq_incident_open", "fingerprint", unique=True, postgresql_where=text("resolved_at IS NULL")),
        Index("ix_incident_model", "model", "id"),
        Index("ix_incident_rule", "rule", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    fingerprint: Mapped[str]
    rule: Mapped[str]
    signal: Mapped[str]
    severity: Mapped[Severity] = mapped_column(choice(Severity))
    subject: Mapped[str]
    model: Mapped[str | None]
    comparison: Mapped[Comparison] = mapped_column(choice(Comparison))
    threshold: Mapped[float]
    value: Mapped[float]
    worst: Mapped[float]
    evidence: Mapped[dict[str, Any]]
    looks: Mapped[int] = mapped_column(server_default="1")
    opened_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    told_at: Mapped[datetime | None]
    """When its opening was given out for delivery; not while it is silenced."""
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by: Mapped[str | None]
    acknowledge_note: Mapped[str | None]
    resolved_at: Mapped[datetime | None]
    resolved_by: Mapped[str | None]
    """None when it resolved by itself."""
    resolve_note: Mapped[str | None]


class Silence(Base):
    """Incidents of a rule, of a model, or of both together that are not to be told until then."""

    __tablename__ = "silence"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    rule: Mapped[str | None]
    model: Mapped[str | None]
    until: Mapped[datetime]
    reason: Mapped[str]
    made_at: Mapped[datetime]
    made_by: Mapped[str]


class Channel(Base):
    """A way to tell people or machines; `sealed` holds its address and secrets, encrypted."""

    __tablename__ = "alert_channel"

    name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[ChannelKind] = mapped_column(choice(ChannelKind))
    shown: Mapped[str]
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    from_environment: Mapped[bool]
    made_at: Mapped[datetime]
    made_by: Mapped[str]


class Delivery(Base):
    """One message to one channel. Its id is the message's: it stays the same however often it is sent."""

    __tablename__ = "alert_delivery"
    __table_args__ = (
        Index("ix_alert_delivery_incident", "incident_id", "id"),
        Index("ix_alert_delivery_channel", "channel", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    incident_id: Mapped[UUID | None] = mapped_column(ForeignKey("incident.id", ondelete="CASCADE"))
    model: Mapped[str | None]
    channel: Mapped[str]
    event: Mapped[Event] = mapped_column(choice(Event))
    body: Mapped[dict[str, Any]]
    state: Mapped[DeliveryState] = mapped_column(choice(DeliveryState), default=DeliveryState.QUEUED)
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    last_error: Mapped[str | None]
    tried_at: Mapped[datetime | None]
    next_at: Mapped[datetime | None]
    made_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
