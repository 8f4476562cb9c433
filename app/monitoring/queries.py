"""What is known of how models are watched, and of what was found."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ARRAY, Row, Text, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.config import Settings
from app.monitoring.tables import DriftVerdictRow, Monitor, Watch

INTERVAL_MINUTES = 5
FALSE_ALARMS = 0.05
Granularity = Literal["hour", "day"]


@dataclass(frozen=True)
class Watching:
    """How a model is watched."""

    enabled: bool
    interval_minutes: int
    window_hours: float
    drift_threshold: float
    false_alarms: float
    set_by: str | None = None
    set_at: datetime | None = None


async def watching_of(session: AsyncSession, model_id: UUID, settings: Settings) -> Watching:
    """How a model is watched: as somebody said, or by default."""
    row = await session.get(Monitor, model_id)
    if row is None:
        return Watching(
            True, INTERVAL_MINUTES, settings.monitoring_window_hours, settings.drift_threshold, FALSE_ALARMS
        )
    names = Watching.__dataclass_fields__
    return Watching(**{name: getattr(row, name) for name in names})


async def find_watch(session: AsyncSession, version_id: UUID, environment: str) -> Watch | None:
    """How far the monitor of a version has come, once it has begun."""
    return await session.get(Watch, (version_id, environment))


async def drift_history(
    session: AsyncSession, model_id: UUID, *, environment: str, since: datetime, granularity: Granularity
) -> list[Row[Any]]:
    """The verdicts since a moment, by hour or day: of each the farthest score, and the latest recommendation."""
    at = func.date_trunc(granularity, DriftVerdictRow.at, "UTC").label("at")
    newest_first = aggregate_order_by(DriftVerdictRow.recommendation, DriftVerdictRow.at.desc())
    latest = func.array_agg(newest_first, type_=ARRAY(Text))
    query = (
        select(
            at,
            func.max(DriftVerdictRow.score).label("score"),
            func.max(DriftVerdictRow.low).label("low"),
            func.max(DriftVerdictRow.high).label("high"),
            func.sum(DriftVerdictRow.rows).label("rows"),
            func.count().label("checks"),
            func.bool_or(DriftVerdictRow.finding == "drift").label("drift_detected"),
            latest[1].label("recommendation"),
        )
        .where(
            DriftVerdictRow.model_id == model_id,
            DriftVerdictRow.environment == environment,
            DriftVerdictRow.at >= since,
            DriftVerdictRow.since.is_not(None),
        )
        .group_by(at)
        .order_by(at)
    )
    return list((await session.execute(query)).all())
