"""The features to look at first, for whoever is told that a model is unwell."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.facts import FactRow
from app.core.jobs import WORKER
from app.monitoring.facts import DriftDetected, MonitoringFact, PerformanceDropped
from app.monitoring.tables import QualityVerdictRow
from app.registry.queries import id_under

LATELY = timedelta(days=1)
"""What was found longer ago is not what a signal shows now."""
MOST_NAMED = 5


async def fallen_features(
    session: AsyncSession, model: str, _since: datetime, until: datetime
) -> Sequence[str]:
    """Those whose drift surely made the loss larger, as the latest fall that was proven names them."""
    return await _announced(session, PerformanceDropped, model, until)


async def drifted_features(
    session: AsyncSession, model: str, _since: datetime, until: datetime
) -> Sequence[str]:
    """Those that drifted, as the latest drift that was proven names them."""
    return await _announced(session, DriftDetected, model, until)


async def _announced(
    session: AsyncSession, kind: type[MonitoringFact], model: str, until: datetime
) -> Sequence[str]:
    query = (
        select(FactRow.body)
        .where(FactRow.kind == kind.__name__, FactRow.sequence.is_not(None), FactRow.at > until - LATELY)
        .where(FactRow.subject.startswith(f"model:{model}:", autoescape=True))
        .order_by(FactRow.sequence.desc())
        .limit(1)
    )
    body = await session.scalar(query)
    return [] if body is None else list(body.get("features", ()))


async def flawed_columns(
    session: AsyncSession, model: str, since: datetime, until: datetime
) -> Sequence[str]:
    """The inputs that most was wrong with in the worst look of the model's monitor in that time."""
    query = (
        select(QualityVerdictRow.columns)
        .where(QualityVerdictRow.model_id == id_under(model), QualityVerdictRow.at.between(since, until))
        .where(QualityVerdictRow.asked_by == WORKER.name, QualityVerdictRow.score.is_not(None))
        .order_by(QualityVerdictRow.score)
        .limit(1)
    )
    columns = await session.scalar(query)
    return [column["feature"] for column in (columns or ())[:MOST_NAMED]]
