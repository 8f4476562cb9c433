"""What monitors tell to whoever raises alarms: one value of each model."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import case, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from app.monitoring.rules import Finding
from app.monitoring.tables import DriftVerdictRow
from app.registry.queries import references_of


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
