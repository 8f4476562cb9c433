"""The durable work of the quality monitor: a look at the inputs of every version that answers, at its model's interval."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.config import Settings
from app.core.jobs import WORKER, Claim, Handler
from app.evidence.windows import find_reference, list_answering, start_of_bucket
from app.monitoring.quality.looking import Of, judge_quality, keep_quality, note_quality, rows_of_log
from app.monitoring.queries import watching_of
from app.monitoring.tables import QualityVerdictRow
from app.registry.queries import get_version_by_id

WATCH_QUALITY = "watch_quality"
LATELY = timedelta(minutes=30)
LONGEST = timedelta(hours=1)
"""What one look goes back at most: after a pause of the worker the past is history."""
SETTLING_SECONDS = 30.0
FEWEST_ROWS = 20
"""Of fewer rows a share says nothing: they wait for the next look."""


def quality_handlers(settings: Settings) -> Mapping[str, Handler]:
    """The one kind of job."""

    async def watch(claim: Claim) -> None:
        """Look at each version that answered somebody lately, one transaction each."""
        async with claim.database.reads() as reading:
            answering = await list_answering(reading, since=clock.now() - LATELY)
        for version_id, environment in answering:
            async with claim.database.writes(WORKER) as session:
                await watch_quality(session, version_id, environment, settings)

    return {WATCH_QUALITY: watch}


async def watch_quality(
    session: AsyncSession, version_id: UUID, environment: str, settings: Settings
) -> None:
    """Look at what has come since the last look, when it is time again; done twice, the second finds nothing to do."""
    version = await get_version_by_id(session, version_id)
    watching = await watching_of(session, version.model_id, settings)
    reference = await find_reference(session, version_id)
    until = start_of_bucket(clock.now() - timedelta(seconds=SETTLING_SECONDS))
    last = await _last_look(session, version_id, environment)
    is_due = last is None or until - last >= timedelta(minutes=watching.interval_minutes)
    if reference is None or not watching.enabled or not is_due:
        return
    since = max(last or until - LONGEST, until - LONGEST)
    rows = await rows_of_log(
        session, reference, version.model_name, environment=environment, since=since, until=until
    )
    if rows.looked_through < FEWEST_ROWS:
        return
    of = Of(version.model_id, version_id, version.number, environment)
    quality = await judge_quality(reference, rows)
    await keep_quality(session, of, rows, quality)
    await note_quality(session, of, quality)


async def _last_look(session: AsyncSession, version_id: UUID, environment: str) -> datetime | None:
    """Up to when the monitor has looked; what people asked for is not its look."""
    query = select(func.max(QualityVerdictRow.until)).where(
        QualityVerdictRow.version_id == version_id,
        QualityVerdictRow.environment == environment,
        QualityVerdictRow.asked_by == WORKER.name,
    )
    return (await session.execute(query)).scalar()
