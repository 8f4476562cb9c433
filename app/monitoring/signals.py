"""What monitors tell to whoever raises alarms: one value of each model."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.core.jobs import WORKER
from app.monitoring.kinds import Finding, PerformanceFinding
from app.monitoring.tables import (
    DriftVerdictRow,
    EstimateWatch,
    PerformanceVerdictRow,
    QualityVerdictRow,
    RegimeChange,
    RegimeMonitor,
    Watch,
)
from app.registry.queries import references_of

MOST_TOLD = 5


async def quality_scores(session: AsyncSession, since: datetime, until: datetime) -> Mapping[str, float]:
    """For each model the quality of its inputs, over all looks of its monitor in that time by their rows.

    Where several environments or versions of a model were looked at, the worst of them speaks.
    """
    weight = QualityVerdictRow.rows + 1.0  # a look at refused rows only counts as well
    mean = func.sum(QualityVerdictRow.score * weight) / func.sum(weight)
    query = (
        select(QualityVerdictRow.version_id, mean.label("score"))
        .where(QualityVerdictRow.at.between(since, until), QualityVerdictRow.score.is_not(None))
        .where(QualityVerdictRow.asked_by == WORKER.name)
        .group_by(QualityVerdictRow.version_id, QualityVerdictRow.environment)
        .order_by(mean.desc())
    )
    found = (await session.execute(query)).all()
    references = await references_of(session, {row.version_id for row in found})
    return {references[row.version_id].partition(":")[0]: row.score for row in found}


async def regime_changes(session: AsyncSession, since: datetime, until: datetime) -> Mapping[str, float]:
    """For each model with followed series how many changes of regime were found in that time, past ones left out."""
    query = select(RegimeMonitor.model, func.count(RegimeChange.id))
    query = query.outerjoin(RegimeChange, _changed_lately(since, until)).group_by(RegimeMonitor.model)
    return {model: float(count) for model, count in await session.execute(query)}


async def changes_in_words(
    session: AsyncSession, model: str, since: datetime, until: datetime
) -> Sequence[str]:
    """What changed in the latest of the changes that `regime_changes` counts for a model, and since when."""
    query = select(RegimeMonitor.name, RegimeChange).join(RegimeChange, _changed_lately(since, until))
    query = query.where(RegimeMonitor.model == model).order_by(RegimeChange.id.desc()).limit(MOST_TOLD)
    found = await session.execute(query)
    return [f"{name} since {change.since:%Y-%m-%d %H:%M} UTC: {say_change(change)}" for name, change in found]


def say_change(change: Any) -> str:
    """What changed, of a row or what is shown of it: two regimes may be the same beside the long run, and yet not one."""
    label = f"{change.level}, {change.volatility}"
    before = f"{change.level_before}, {change.volatility_before}"
    return (
        f"mean from {change.mean_before:.4g} to {change.mean:.4g}, "
        f"deviation from {change.deviation_before:.4g} to {change.deviation:.4g}; beside the long run "
        + (f"still {label}" if label == before else f"{before} before, {label} now")
    )


def _changed_lately(since: datetime, until: datetime) -> ColumnElement[bool]:
    """What was found in a time, and shown by a value no further before its series' latest than that time is long.

    A history that is sent at once has changes that were over long ago. Against the clock those of daily values would be
    old too, and those of losses, whose labels come late: so it is the series that says what is its present.
    """
    return and_(
        RegimeChange.monitor_id == RegimeMonitor.id,
        RegimeChange.told_at.between(since, until),
        RegimeChange.found_at >= RegimeMonitor.last_at - (until - since),
    )


async def estimated_losses(session: AsyncSession, since: datetime, until: datetime) -> Mapping[str, float]:
    """For each model whose labels are missing by how much it is expected to do worse, as far as was proven last; else 0.

    Where several environments or versions of a model were looked at, the worst of them speaks.
    """
    row, watch = PerformanceVerdictRow, EstimateWatch
    proven = _proven_last(row, watch, watch.fallen_since, row.loss_low, PerformanceFinding.FALLEN)
    return await _worst_of_models(session, proven.where(row.at.between(since, until), row.estimated))


async def drift_scores(session: AsyncSession, since: datetime, until: datetime) -> Mapping[str, float]:
    """For each model at least which score of drift its monitor proved last; 0 where there is none, or it is over.

    A look at no rows shows nothing. Where several environments or versions of a model were looked at, the worst of
    them speaks.
    """
    row = DriftVerdictRow
    proven = _proven_last(row, Watch, Watch.drifted_since, row.low, Finding.DRIFT)
    is_of_log = and_(row.since.is_not(None), row.rows > 0)
    return await _worst_of_models(session, proven.where(row.at.between(since, until), is_of_log))


def _proven_last(
    look: type[DriftVerdictRow | PerformanceVerdictRow],
    watch: type[Watch | EstimateWatch],
    unwell_since: InstrumentedAttribute[datetime | None],
    value: InstrumentedAttribute[Any],
    proof: Finding | PerformanceFinding,
) -> Select[tuple[UUID, float]]:
    """Of each version, as long as its monitor holds it for unwell, the value of the latest look that proved it; else 0.

    Looks at too few rows to tell take nothing back, however many follow. What somebody asked for may be of any rows,
    and so neither begins an incident nor ends one.
    """
    is_well = unwell_since.is_(None)
    return (
        select(look.version_id, case((is_well, 0.0), else_=func.greatest(value, 0.0)).label("value"))
        .join(watch, and_(watch.version_id == look.version_id, watch.environment == look.environment))
        .ext(distinct_on(look.version_id, look.environment))
        .where(look.asked_by == WORKER.name, or_(is_well, look.finding == proof))
        .order_by(look.version_id, look.environment, look.at.desc())
    )


async def _worst_of_models(session: AsyncSession, proven: Select[tuple[UUID, float]]) -> Mapping[str, float]:
    found = (await session.execute(proven)).all()
    references = await references_of(session, {row.version_id for row in found})
    by_size = sorted(found, key=lambda row: row.value)
    return {references[row.version_id].partition(":")[0]: row.value for row in by_size}
