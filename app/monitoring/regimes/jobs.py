"""The durable work of regime monitors: taking what has been added to the series that they read by themselves."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.jobs import WORKER, Claim, Handler
from app.evidence.series import Series, Values, bucket_losses, bucket_rows
from app.evidence.windows import start_of_bucket
from app.monitoring.kinds import SeriesKind, SeriesMetric
from app.monitoring.regimes.following import take_values
from app.monitoring.tables import DriftVerdictRow, QualityVerdictRow, RegimeMonitor
from app.registry.queries import version_ids_of

WATCH_REGIMES = "watch_regimes"
SETTLING_SECONDS = 30.0
MOST_VALUES = 2000
FIRST_LOOK = timedelta(days=14)
"""How far a new monitor looks back: two weeks, so that the long run is known from the start."""

Found = type[DriftVerdictRow] | type[QualityVerdictRow]


def regime_handlers() -> Mapping[str, Handler]:
    """The one kind of job."""
    return {WATCH_REGIMES: Watching()}


class Watching:
    """Follows each series on, one transaction each.

    That a stream is silent is believed of what the look before could have seen already: when the database was away, or
    this worker, the rows of that time are still being shipped while it looks for the first time.
    """

    def __init__(self) -> None:
        self._series = Series()
        self._looked_at: datetime | None = None

    async def __call__(self, claim: Claim) -> None:
        """One look at all of them."""
        now = clock.now()
        async with claim.database.reads() as reading:
            query = select(RegimeMonitor.id).where(RegimeMonitor.kind != SeriesKind.POSTED)
            monitors = (await reading.scalars(query.order_by(RegimeMonitor.id))).all()
        for monitor_id in monitors:
            async with claim.database.writes(WORKER) as session:
                await watch_regime(session, monitor_id, self._series, self._looked_at)
        self._looked_at = now


@dataclass(frozen=True)
class Stretch:
    """Of which time values are asked: of that after one moment and before another, silence being known until a third."""

    after: datetime
    until: datetime
    silent_until: datetime | None


async def watch_regime(
    session: AsyncSession, monitor_id: UUID, series: Series, looked_at: datetime | None = None
) -> None:
    """Take the values that are complete since the last; done twice, the second finds none."""
    monitor = await session.get(RegimeMonitor, monitor_id, with_for_update=True)
    if monitor is None:  # deleted meanwhile
        return
    until = _settled(clock.now())
    silent_until = looked_at and _settled(looked_at)
    begins = min(monitor.made_at, until) - FIRST_LOOK  # it stays: labels may take longer than that to come
    stretch = Stretch(monitor.last_at or begins, until, silent_until)
    values = await _read(session, monitor, series, stretch)
    if values:
        await take_values(session, monitor, values)


def _settled(now: datetime) -> datetime:
    """Where the latest bucket ends whose rows are there."""
    return start_of_bucket(now - timedelta(seconds=SETTLING_SECONDS))


async def _read(session: AsyncSession, monitor: RegimeMonitor, series: Series, stretch: Stretch) -> Values:
    assert monitor.source is not None, "only what is posted has no source"
    if monitor.kind == SeriesKind.METRIC:
        return await METRICS[SeriesMetric(monitor.source)](session, monitor, stretch)
    versions = await version_ids_of(session, monitor.model_id)
    return await series.bucket_means(
        session,
        versions,
        monitor.source,
        environment=monitor.environment,
        after=stretch.after,
        until=stretch.until,
    )


async def _rows(session: AsyncSession, monitor: RegimeMonitor, stretch: Stretch) -> Values:
    """After a pause of weeks not all of it: by the hour, as it is kept by then, there would be twelve times as many."""
    return await bucket_rows(
        session,
        await version_ids_of(session, monitor.model_id),
        environment=monitor.environment,
        after=max(stretch.after, stretch.until - FIRST_LOOK),
        until=stretch.until,
        has_begun=monitor.last_at is not None,
        silent_until=stretch.silent_until,
    )


async def _loss(session: AsyncSession, monitor: RegimeMonitor, stretch: Stretch) -> Values:
    return await bucket_losses(
        session, monitor.model, environment=monitor.environment, after=stretch.after, until=stretch.until
    )


async def _drift(session: AsyncSession, monitor: RegimeMonitor, stretch: Stretch) -> Values:
    return await _scores(session, DriftVerdictRow, monitor, stretch.after)


async def _quality(session: AsyncSession, monitor: RegimeMonitor, stretch: Stretch) -> Values:
    return await _scores(session, QualityVerdictRow, monitor, stretch.after)


async def _scores(session: AsyncSession, found: Found, monitor: RegimeMonitor, after: datetime) -> Values:
    """What the looks of the model's own monitor gave; what people asked for is no series."""
    query = (
        select(found.at, found.score)
        .where(found.model_id == monitor.model_id, found.environment == monitor.environment)
        .where(found.asked_by == WORKER.name, found.at > after, found.score.is_not(None))
        .order_by(found.at)
        .limit(MOST_VALUES)
    )
    return [(at, float(score)) for at, score in await session.execute(query) if score is not None]


Reader = Callable[[AsyncSession, RegimeMonitor, Stretch], Awaitable[Values]]
METRICS: Mapping[SeriesMetric, Reader] = {
    SeriesMetric.ROWS: _rows,
    SeriesMetric.LOSS: _loss,
    SeriesMetric.DRIFT_SCORE: _drift,
    SeriesMetric.QUALITY_SCORE: _quality,
}
"""Who reads each metric."""
