"""How each model is watched, how far its monitor has come, and every verdict with the evidence that it was made from."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, choice
from app.core.ids import new_id
from app.monitoring.kinds import Figure
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
    """How far a monitor has come with a version: which bucket it looked at last, and whether it saw drift."""

    __tablename__ = "watch"

    version_id: Mapped[UUID] = mapped_column(primary_key=True)
    environment: Mapped[str] = mapped_column(primary_key=True)
    looked: Mapped[int] = mapped_column(server_default="0")
    """How many buckets with rows it has looked at."""
    origin: Mapped[int] = mapped_column(server_default="0")
    """The first of them that a window may hold: those in which drift was proven are not asked again."""
    last_bucket: Mapped[datetime | None]
    looked_at: Mapped[datetime]
    drifted_since: Mapped[datetime | None]


class LatestFigure(Base):
    """The latest value of one figure of a version, for those who ask often: the metrics of every replica."""

    __tablename__ = "latest_figure"

    version_id: Mapped[UUID] = mapped_column(primary_key=True)
    environment: Mapped[str] = mapped_column(primary_key=True)
    figure: Mapped[Figure] = mapped_column(choice(Figure), primary_key=True)
    value: Mapped[float]
    at: Mapped[datetime]


class QualityVerdictRow(Base):
    """One look at the quality of inputs."""

    __tablename__ = "quality_verdict"
    __table_args__ = (
        Index("ix_quality_verdict_version", "version_id", "environment", "at"),
        Index("ix_quality_verdict_at", "at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    model_id: Mapped[UUID]
    version_id: Mapped[UUID]
    version: Mapped[int]
    environment: Mapped[str]
    at: Mapped[datetime]
    since: Mapped[datetime | None]
    """None where the caller sent the rows."""
    until: Mapped[datetime | None]
    asked_by: Mapped[str]
    rows: Mapped[int]
    refused: Mapped[float]
    repeated: Mapped[float]
    score: Mapped[float | None]
    columns: Mapped[list[Any]]
    """Those that are flawed."""
    reasons: Mapped[list[Any]]


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
