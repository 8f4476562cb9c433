"""What monitors found long ago: looks that found nothing become hours of the history, what rests on the log goes with it."""

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import and_, delete, exists, or_, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.config import Settings
from app.core.jobs import WORKER, Claim, Handler
from app.monitoring.kinds import PerformanceFinding
from app.monitoring.tables import (
    LatestFigure,
    PerformanceVerdictRow,
    QualityVerdictRow,
    RegimeMonitor,
    RegimeValue,
)

KEEP_VERDICTS = "keep_verdicts"
QUIET_LOOKS = timedelta(days=31)
"""How long each look of a monitor that found nothing is kept."""
EVERY_LOOK = timedelta(days=400)
"""How long the others are: those that found something, and those that people asked for, with the profiles they rest on."""

_ROLL_UP = text("""
    WITH gone AS (
        DELETE FROM drift_verdict
        WHERE at < :every OR (at < :quiet AND finding <> 'drift' AND asked_by = :worker)
        RETURNING *
    )
    INSERT INTO drift_hour AS known
        (model_id, environment, at, score, low, high, rows, checks, drift_detected, recommendation, last_at)
    SELECT model_id, environment, date_trunc('hour', at, 'UTC'), max(score), max(low), max(high), max(rows), count(*),
        bool_or(finding = 'drift'), (array_agg(recommendation ORDER BY at DESC))[1], max(at)
    FROM gone WHERE since IS NOT NULL AND rows > 0 GROUP BY 1, 2, 3
    ON CONFLICT (model_id, environment, at) DO UPDATE SET
        score = greatest(known.score, excluded.score), low = greatest(known.low, excluded.low),
        high = greatest(known.high, excluded.high), rows = greatest(known.rows, excluded.rows),
        checks = known.checks + excluded.checks, drift_detected = known.drift_detected OR excluded.drift_detected,
        recommendation = CASE WHEN excluded.last_at > known.last_at THEN excluded.recommendation ELSE known.recommendation END,
        last_at = greatest(known.last_at, excluded.last_at)
""")


def retention_handlers(settings: Settings) -> Mapping[str, Handler]:
    """The one kind of job."""

    async def keep(claim: Claim) -> None:
        async with claim.database.writes(WORKER) as session:
            await roll_up_verdicts(session)
            await forget_quiet_performance(session)
        async with claim.database.writes(WORKER) as session:
            await forget_with_the_log(session, settings.prediction_retention_days)

    return {KEEP_VERDICTS: keep}


async def roll_up_verdicts(session: AsyncSession) -> None:
    """Put hours of the history in the place of old looks, in one statement: each look is in one or the other."""
    now = clock.now()
    bounds = {"quiet": now - QUIET_LOOKS, "every": now - EVERY_LOOK, "worker": WORKER.name}
    await session.execute(_ROLL_UP, bounds)


async def forget_quiet_performance(session: AsyncSession) -> None:
    """Drop old looks at what came true; the history of performance is told from sums, not from them."""
    verdict, now = PerformanceVerdictRow, clock.now()
    is_quiet = and_(verdict.finding != PerformanceFinding.FALLEN, verdict.asked_by == WORKER.name)
    await session.execute(
        delete(verdict).where(
            or_(verdict.at < now - EVERY_LOOK, and_(verdict.at < now - QUIET_LOOKS, is_quiet))
        )
    )


async def forget_with_the_log(session: AsyncSession, keep_days: int) -> None:
    """Drop looks at the quality of rows, values of followed series, and latest figures that are older than the log."""
    before = clock.now() - timedelta(days=keep_days)
    await session.execute(delete(QualityVerdictRow).where(QualityVerdictRow.at < before))
    await session.execute(delete(LatestFigure).where(LatestFigure.at < before))
    is_of_the_past = exists().where(
        and_(RegimeMonitor.id == RegimeValue.monitor_id, RegimeValue.at < RegimeMonitor.last_at)
    )
    await session.execute(delete(RegimeValue).where(RegimeValue.at < before, is_of_the_past))
