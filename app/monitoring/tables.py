"""How each model is watched, how far its monitor has come, and every verdict with the evidence that it was made from."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, choice
from app.core.ids import new_id
from app.monitoring.kinds import BaselineKind, Figure, Finding, PerformanceFinding, Recommendation, SeriesKind


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


class LatestFigure(Base):
    """The latest value of one figure of a version, for those who ask often: the metrics of every replica."""

    __tablename__ = "latest_figure"

    version_id: Mapped[UUID] = mapped_column(primary_key=True)
    environment: Mapped[str] = mapped_column(primary_key=True)
    figure: Mapped[Figure] = mapped_column(choice(Figure), primary_key=True)
    value: Mapped[float]
    at: Mapped[datetime]


class LookMixin:
    """What is kept of every look: which version was looked at, where and when, at how many rows, and who asked for it."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    model_id: Mapped[UUID]
    version_id: Mapped[UUID]
    version: Mapped[int]
    environment: Mapped[str]
    at: Mapped[datetime]
    rows: Mapped[int]
    asked_by: Mapped[str]


class QualityVerdictRow(LookMixin, Base):
    """One look at the quality of inputs."""

    __tablename__ = "quality_verdict"
    __table_args__ = (
        Index("ix_quality_verdict_version", "version_id", "environment", "at"),
        Index("ix_quality_verdict_at", "at"),
    )

    since: Mapped[datetime | None]
    """None where the caller sent the rows."""
    until: Mapped[datetime | None]
    refused: Mapped[float]
    repeated: Mapped[float]
    score: Mapped[float | None]
    columns: Mapped[list[Any]]
    """Those that are flawed."""
    reasons: Mapped[list[Any]]


class DriftHour(Base):
    """The looks of an hour that are not kept one by one any more, as the history tells them."""

    __tablename__ = "drift_hour"

    model_id: Mapped[UUID] = mapped_column(primary_key=True)
    environment: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    score: Mapped[float]
    low: Mapped[float]
    high: Mapped[float]
    rows: Mapped[int]
    checks: Mapped[int]
    drift_detected: Mapped[bool]
    recommendation: Mapped[Recommendation] = mapped_column(choice(Recommendation))
    """The latest of them; `last_at` is its time."""
    last_at: Mapped[datetime]


class RegimeMonitor(Base):
    """A series that is followed: all that must be remembered of it, and the regime that it is in."""

    __tablename__ = "regime_monitor"
    __table_args__ = (UniqueConstraint("model_id", "name"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    model_id: Mapped[UUID]
    model: Mapped[str]
    name: Mapped[str]
    kind: Mapped[SeriesKind] = mapped_column(choice(SeriesKind))
    source: Mapped[str | None]
    environment: Mapped[str]
    mean_run: Mapped[float]
    """Values between false alarms, on average."""
    state: Mapped[dict[str, Any] | None]
    values: Mapped[int]
    """How many were taken: the place of the next one."""
    last_at: Mapped[datetime | None]
    since: Mapped[datetime | None]
    level: Mapped[str | None]
    volatility: Mapped[str | None]
    mean: Mapped[float | None]
    deviation: Mapped[float | None]
    regime_values: Mapped[int | None]
    made_at: Mapped[datetime]
    made_by: Mapped[str]


class RegimeValue(Base):
    """A value that was taken, for as long as the prediction log is kept: whoever sends it again is told so."""

    __tablename__ = "regime_value"
    __table_args__ = (UniqueConstraint("monitor_id", "at"),)

    monitor_id: Mapped[UUID] = mapped_column(
        ForeignKey("regime_monitor.id", ondelete="CASCADE"), primary_key=True
    )
    place: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    value: Mapped[float]


class RegimeChange(Base):
    """A change of regime: since when, and at which value it was found."""

    __tablename__ = "regime_change"
    __table_args__ = (Index("ix_regime_change_monitor", "monitor_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    monitor_id: Mapped[UUID] = mapped_column(ForeignKey("regime_monitor.id", ondelete="CASCADE"))
    since: Mapped[datetime]
    found_at: Mapped[datetime]
    delay_values: Mapped[int]
    level: Mapped[str]
    volatility: Mapped[str]
    mean: Mapped[float]
    deviation: Mapped[float]
    level_before: Mapped[str]
    volatility_before: Mapped[str]
    mean_before: Mapped[float]
    deviation_before: Mapped[float]
    told_at: Mapped[datetime]


class DriftVerdictRow(LookMixin, Base):
    """One look at a window: what was found, and the profile that it was found in, so that it can be found again.

    A monitor's look that found nothing keeps no profile of its own: the live profiles between `since` and `until` are it.
    """

    __tablename__ = "drift_verdict"
    __table_args__ = (Index("ix_drift_verdict_model", "model_id", "at"),)

    since: Mapped[datetime | None]
    """None where the caller sent the rows."""
    until: Mapped[datetime | None]
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
    labels: Mapped[bytes | None] = mapped_column(LargeBinary)
    basis: Mapped[dict[str, Any] | None]
    """Beside the reference: how much less dependent rows count, and whose hours of the week the window was held against."""


class PerformanceBaseline(Base):
    """What a version's performance is held against, as sums; made once, never changed."""

    __tablename__ = "performance_baseline"

    version_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[BaselineKind] = mapped_column(choice(BaselineKind, "kind"))
    labelled: Mapped[int]
    sums: Mapped[dict[str, Any]] = mapped_column(JSON(none_as_null=True))
    until: Mapped[datetime | None]
    """Where it was made from the version's first labels: only later rows are held against them."""
    made_at: Mapped[datetime]


class PerformanceWatch(Base):
    """How far the monitor of a version's performance has come; its buckets are numbered by time, from its first label on."""

    __tablename__ = "performance_watch"

    version_id: Mapped[UUID] = mapped_column(primary_key=True)
    environment: Mapped[str] = mapped_column(primary_key=True)
    began_at: Mapped[datetime]
    """The start of bucket 0."""
    looked: Mapped[int] = mapped_column(server_default="0")
    origin: Mapped[int] = mapped_column(server_default="0")
    """The first bucket that a window may hold: those in which a loss was proven are not asked again."""
    looked_at: Mapped[datetime]
    fallen_since: Mapped[datetime | None]
    design_effect: Mapped[float | None]
    """How many labelled rows count for one, as far as the labels of `learnt_from` buckets show it."""
    learnt_from: Mapped[int] = mapped_column(server_default="0")


class EstimateWatch(Base):
    """How far the monitor of a version has come that estimates how it does while its labels are missing."""

    __tablename__ = "estimate_watch"

    version_id: Mapped[UUID] = mapped_column(primary_key=True)
    environment: Mapped[str] = mapped_column(primary_key=True)
    looks: Mapped[int] = mapped_column(server_default="0")
    until: Mapped[datetime | None]
    """Where the window of the last look ended: the next one begins there."""
    looked_at: Mapped[datetime]
    fallen_since: Mapped[datetime | None]


class PerformanceVerdictRow(LookMixin, Base):
    """One look at what came true, with the sums that it was told from, so that it can be told again."""

    __tablename__ = "performance_verdict"
    __table_args__ = (Index("ix_performance_verdict_model", "model_id", "at"),)

    since: Mapped[datetime]
    until: Mapped[datetime]
    labelled: Mapped[int]
    finding: Mapped[PerformanceFinding] = mapped_column(choice(PerformanceFinding, "finding"))
    recommendation: Mapped[Recommendation] = mapped_column(choice(Recommendation))
    metric: Mapped[str | None]
    value: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    baseline: Mapped[float | None]
    loss: Mapped[float | None]
    loss_low: Mapped[float | None]
    loss_high: Mapped[float | None]
    false_alarms: Mapped[float]
    threshold: Mapped[float]
    design_effect: Mapped[float | None]
    """None where nothing was known, and rows were taken to be independent."""
    estimated: Mapped[bool] = mapped_column(server_default="false")
    """Whether it was told without labels."""
    sums: Mapped[dict[str, Any]] = mapped_column(JSON(none_as_null=True))
