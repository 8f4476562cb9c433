"""How each model is watched, how far its monitor has come, and every verdict with the evidence that it was made from."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, choice
from app.core.ids import new_id
from app.monitoring.rules import Finding, Recommendation


class Monitor(Base):
    """How a model is watched, where somebody wants it otherwise than by default."""

    __tablename__ = "monitor"

    model_id: Mapped[UUID] = mapped_column(primary_key=True)
    enabled: Mapped[bool]
    interval_minutes: Mapped[int]
    window_hours: Mapped[float]
    drift_threshold: Mapped[float]
    false_alarms: Mapped[float]
    set_by: Mapped[str]
    set_at: Mapped[datetime]


class Watch(Base):
    """How far a monitor has come with a version, what it has learnt of its stream, and whether it saw drift."""

    __tablename__ = "watch"

    version_id: Mapped[UUID] = mapped_column(primary_key=True)
    environment: Mapped[str] = mapped_column(primary_key=True)
    looked: Mapped[int] = mapped_column(server_default="0")
    """The first bucket that no window was looked at with, counted from `started_at` by time, empty ones too."""
    origin: Mapped[int] = mapped_column(server_default="0")
    """The first of them that a window may hold: those in which drift was proven are not asked again."""
    looked_at: Mapped[datetime]
    drifted_since: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    buckets: Mapped[int] = mapped_column(server_default="0")
    """How many with rows it has looked at."""
    dependence: Mapped[dict[str, Any] | None]
    """How the rows within them depend on each other, as far as they show it."""
    season_from: Mapped[datetime | None]
    """Since when the stream's own week is known, and windows are held against its hours."""


class DriftVerdictRow(Base):
    """One look at a window: what was found, and the profile that it was found in, so that it can be found again.

    A monitor's look that found nothing keeps no profile of its own: the live profiles between `since` and `until` are it.
    """

    __tablename__ = "drift_verdict"
    __table_args__ = (Index("ix_drift_verdict_model", "model_id", "at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    model_id: Mapped[UUID]
    version_id: Mapped[UUID]
    version: Mapped[int]
    environment: Mapped[str]
    at: Mapped[datetime]
    since: Mapped[datetime | None]
    """None where the caller sent the rows."""
    until: Mapped[datetime | None]
    rows: Mapped[int]
    asked_by: Mapped[str]
    finding: Mapped[Finding] = mapped_column(choice(Finding))
    recommendation: Mapped[Recommendation] = mapped_column(choice(Recommendation))
    score: Mapped[float]
    low: Mapped[float]
    high: Mapped[float]
    false_alarms: Mapped[float]
    threshold: Mapped[float]
    columns: Mapped[list[Any]]
    counts: Mapped[bytes | None] = mapped_column(LargeBinary)
    sums: Mapped[bytes | None] = mapped_column(LargeBinary)
    extremes: Mapped[bytes | None] = mapped_column(LargeBinary)
    basis: Mapped[dict[str, Any] | None]
    """Beside the reference: how much less dependent rows count, and whose hours of the week the window was held against."""
