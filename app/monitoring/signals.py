"""What monitors tell to whoever raises alarms: one value of each model."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import and_, case, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.jobs import WORKER
from app.monitoring.kinds import Finding
from app.monitoring.tables import (
    DriftVerdictRow,
    EstimateWatch,
    PerformanceVerdictRow,
    QualityVerdictRow,
    RegimeChange,
    RegimeMonitor,
)
from app.registry.queries import references_of


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
    """For each model with followed series how many changes of regime were found in that time."""
    lately = and_(RegimeChange.monitor_id == RegimeMonitor.id, RegimeChange.told_at.between(since, until))
    query = select(RegimeMonitor.model, func.count(RegimeChange.id)).outerjoin(RegimeChange, lately)
    return {
        model: float(count) for model, count in await session.execute(query.group_by(RegimeMonitor.model))
    }


async def estimated_losses(session: AsyncSession, since: datetime, until: datetime) -> Mapping[str, float]:
    """For each model whose labels are missing by how much it is expected to do worse, 0 where no fall is proven, or one is over."""
    fallen = case((EstimateWatch.fallen_since.is_not(None), PerformanceVerdictRow.loss_low), else_=0.0)
    query = (
        select(PerformanceVerdictRow.version_id, fallen.label("loss"))
        .join(
            EstimateWatch,
            and_(
                *(getattr(EstimateWatch, name) == getattr(PerformanceVerdictRow, name) for name in _OF_WATCH)
            ),
        )
        .ext(distinct_on(PerformanceVerdictRow.model_id))
        .where(PerformanceVerdictRow.at.between(since, until), PerformanceVerdictRow.estimated)
        .order_by(PerformanceVerdictRow.model_id, PerformanceVerdictRow.at.desc())
    )
    losses = {row.version_id: max(0.0, row.loss or 0.0) for row in await session.execute(query)}
    references = await references_of(session, losses.keys())
    return {references[version_id].partition(":")[0]: loss for version_id, loss in losses.items()}


_OF_WATCH = ("version_id", "environment")


async def drift_scores(session: AsyncSession, since: datetime, until: datetime) -> Mapping[str, float]:
    """For each model what the latest look at its log proved: at least this score of drift, or none."""
    proven = case((DriftVerdictRow.finding == Finding.DRIFT, DriftVerdictRow.low), else_=0.0)
    query = (
        select(DriftVerdictRow.version_id, proven.label("score"))
        .ext(distinct_on(DriftVerdictRow.model_id))
        .where(DriftVerdictRow.at.between(since, until), DriftVerdictRow.since.is_not(None))
        .order_by(DriftVerdictRow.model_id, DriftVerdictRow.at.desc())
    )
    scores = {row.version_id: row.score for row in await session.execute(query)}
    references = await references_of(session, scores.keys())
    return {references[version_id].partition(":")[0]: score for version_id, score in scores.items()}
