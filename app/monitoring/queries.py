"""What is known of how models are watched, and of what was found."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Row, Select, Text, cast, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.config import Settings
from app.evidence.planning import FIRST_ROWS, find_awaited
from app.monitoring.errors import NoReferenceYet
from app.monitoring.kinds import Finding
from app.monitoring.tables import DriftHour, DriftVerdictRow, Monitor, PerformanceVerdictRow, Watch

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


async def no_reference_yet(session: AsyncSession, version: Any) -> NoReferenceYet:
    """The refusal of whoever asks of a version before it has a reference, with what that waits for."""
    awaited = await find_awaited(session, version)
    return NoReferenceYet(
        version.model_reference,
        FIRST_ROWS,
        has_sample=awaited.has_sample,
        trouble=awaited.trouble,
        is_given_up=awaited.is_given_up,
    )


async def find_watch(session: AsyncSession, version_id: UUID, environment: str) -> Watch | None:
    """How far the monitor of a version has come, once it has begun."""
    return await session.get(Watch, (version_id, environment))


async def drift_history(
    session: AsyncSession, model_id: UUID, *, environment: str, since: datetime, granularity: Granularity
) -> list[Row[Any]]:
    """The verdicts since a moment, by hour or day: of each the farthest score, and the latest recommendation."""
    told = union_all(_select_looks(), _select_hours()).subquery().c
    at = func.date_trunc(granularity, told.at, "UTC").label("at")
    latest = func.array_agg(aggregate_order_by(told.recommendation, told.last_at.desc()), type_=ARRAY(Text))
    query = (
        select(
            at,
            func.max(told.score).label("score"),
            func.max(told.low).label("low"),
            func.max(told.high).label("high"),
            cast(func.sum(told.rows), BigInteger).label("rows"),
            cast(func.sum(told.checks), BigInteger).label("checks"),
            func.bool_or(told.drift_detected).label("drift_detected"),
            latest[1].label("recommendation"),
        )
        .where(told.model_id == model_id, told.environment == environment, told.at >= since)
        .group_by(at)
        .order_by(at)
    )
    return list((await session.execute(query)).all())


async def estimated_history(
    session: AsyncSession, model_id: UUID, *, environment: str, since: datetime, granularity: Granularity
) -> dict[tuple[datetime, int], Row[Any]]:
    """What was estimated while labels were missing, by hour or day and version: the mean over its rows, and the farthest ends."""
    row = PerformanceVerdictRow
    at = func.date_trunc(granularity, row.since, "UTC").label("at")
    query = (
        select(
            at, row.version, func.min(row.metric).label("metric"),
            (func.sum(row.value * row.rows) / func.sum(row.rows)).label("value"),
            func.min(row.low).label("low"), func.max(row.high).label("high"),
            cast(func.sum(row.rows), BigInteger).label("rows"),
        )
        .where(row.model_id == model_id, row.environment == environment, row.since >= since, row.estimated)
        .group_by(at, row.version)
    )  # fmt: skip
    return {(found.at, found.version): found for found in await session.execute(query)}


def _select_looks() -> Select[*tuple[Any, ...]]:
    """The looks that are kept one by one."""
    row = DriftVerdictRow
    return select(
        row.model_id, row.environment, row.at, row.score, row.low, row.high, row.rows, literal(1).label("checks"),
        (row.finding == Finding.DRIFT).label("drift_detected"), row.recommendation, row.at.label("last_at"),
    ).where(row.since.is_not(None))  # fmt: skip


def _select_hours() -> Select[*tuple[Any, ...]]:
    """The others, hour by hour."""
    return select(DriftHour.__table__)
