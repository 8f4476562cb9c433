"""The durable work of monitors: looking at every version in production as its rows come."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.config import Settings
from app.core.facts import announce
from app.core.jobs import WORKER, Claim, Handler, enqueue
from app.evidence.profiles import BUCKET
from app.evidence.windows import (
    Reference,
    find_reference,
    list_answering,
    list_buckets,
    read_window,
    start_of_bucket,
)
from app.monitoring.actions import Seen, Subject, Terms, keep_summary, keep_verdict, look_at
from app.monitoring.baselines import BASELINE_REGISTERED, baseline_registered
from app.monitoring.facts import DriftDetected, DriftEnded
from app.monitoring.figures import note_figures
from app.monitoring.kinds import Figure
from app.monitoring.performance_jobs import WATCH_PERFORMANCE, ask_for_watches, watch_claimed
from app.monitoring.queries import Watching, watching_of
from app.monitoring.rules import Finding
from app.monitoring.tables import Watch
from app.registry.queries import get_version_by_id
from app.stats.looks import allowance, looks_after

WATCH_ALL, WATCH = "watch_all", "watch"
WATCH_SECONDS = 60
LATELY = timedelta(minutes=30)
SETTLING_SECONDS = 30.0
"""How long after its end a bucket is looked at: spools of all replicas are shipped by then."""
LONGEST = 512
"""Buckets of the longest window, most of two days: longer ones would only find what the day's score shows."""


def job_handlers(settings: Settings) -> Mapping[str, Handler]:
    """The kinds of job that this room does."""

    async def watch_all(claim: Claim) -> None:
        """Have every version that answered somebody lately looked at."""
        async with claim.database.writes(WORKER) as session:
            for version_id, environment in await list_answering(session, since=clock.now() - LATELY):
                await enqueue(
                    session,
                    WATCH,
                    {"version_id": str(version_id), "environment": environment},
                    dedupe_key=f"{WATCH} {version_id} {environment}",
                )
            await ask_for_watches(session)

    async def watch(claim: Claim) -> None:
        version_id, environment = UUID(claim.payload["version_id"]), claim.payload["environment"]
        async with claim.database.writes(WORKER) as session:
            await watch_version(session, version_id, environment, settings)

    return {
        WATCH_ALL: watch_all,
        WATCH: watch,
        WATCH_PERFORMANCE: partial(watch_claimed, settings=settings),
        BASELINE_REGISTERED: baseline_registered,
    }


async def watch_version(
    session: AsyncSession, version_id: UUID, environment: str, settings: Settings
) -> None:
    """Look at every window that is complete since the last look, and tell when drift begins and when it has ended."""
    version = await get_version_by_id(session, version_id)
    watching = await watching_of(session, version.model_id, settings)
    reference = await find_reference(session, version_id)
    if reference is None or not watching.enabled:
        return
    state = await _lock_watch(session, version_id, environment)
    if state.looked and clock.now() - state.looked_at < timedelta(minutes=watching.interval_minutes):
        return
    buckets = await list_buckets(session, version_id, environment, until=_end_of_settled(clock.now()))
    subject = Subject(
        version.model_id,
        version_id,
        version.number,
        environment,
        version.probe.get("feature_importances") or {},
    )
    for number in range(state.looked, len(buckets)):
        await _look_after(session, state, version.model_name, subject, reference, watching, buckets, number)
        state.looked, state.last_bucket, state.looked_at = number + 1, buckets[number], clock.now()


def _end_of_settled(now: datetime) -> datetime:
    """The end of the last bucket that nothing will be added to, unless a spool was held up."""
    return start_of_bucket(now - timedelta(seconds=SETTLING_SECONDS))


async def _lock_watch(session: AsyncSession, version_id: UUID, environment: str) -> Watch:
    first = insert(Watch).values(version_id=version_id, environment=environment, looked_at=clock.now())
    await session.execute(first.on_conflict_do_nothing())
    query = (
        select(Watch)
        .where(Watch.version_id == version_id, Watch.environment == environment)
        .with_for_update()
    )
    return (await session.scalars(query)).one()


async def _look_after(
    session: AsyncSession,
    state: Watch,
    model: str,
    subject: Subject,
    reference: Reference,
    watching: Watching,
    buckets: Sequence[datetime],
    number: int,
) -> None:
    """Look at the windows that end with a bucket; the first that proves drift is kept, else the longest."""
    kept: tuple[Seen, Terms] | None = None
    for look in looks_after(number):
        if look.buckets > LONGEST or look.first < state.origin:
            break
        since, until = buckets[look.first], buckets[number] + BUCKET
        window = await read_window(
            session, reference, environment=subject.environment, since=since, until=until
        )
        terms = Terms(watching.drift_threshold, allowance(look, watching.false_alarms))
        seen = await look_at(reference, replace(window, since=since, until=until), subject, terms)
        kept = (seen, terms)
        if seen.verdict.finding == Finding.DRIFT:
            break
    if kept is not None:
        await _tell(session, state, model, subject, *kept)


async def _tell(
    session: AsyncSession, state: Watch, model: str, subject: Subject, seen: Seen, terms: Terms
) -> None:
    keep = keep_verdict if seen.verdict.finding == Finding.DRIFT else keep_summary
    row = keep(session, seen, subject, terms, since=seen.window.since, until=seen.window.until)
    await session.flush()
    verdict, where = seen.verdict, (model, subject.version, subject.environment, str(row.id))
    if verdict.finding == Finding.DRIFT:
        state.origin = state.looked + 1
    if verdict.finding == Finding.DRIFT and state.drifted_since is None:
        state.drifted_since = seen.window.since
        names = [each.column.name for each in verdict.drifted]
        announce(session, DriftDetected(*where, verdict.score, verdict.recommendation, names))
    elif verdict.finding == Finding.NO_RELEVANT_DRIFT and state.drifted_since is not None:
        state.drifted_since = None
        announce(session, DriftEnded(*where, verdict.score))
    told = {
        Figure.DRIFT_SCORE: verdict.score,
        Figure.DRIFT_DETECTED: float(state.drifted_since is not None),
    }
    await note_figures(session, subject.version_id, subject.environment, told)
