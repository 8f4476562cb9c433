"""Looking at a version's windows as they become complete, and learning what its stream is like."""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.config import Settings
from app.core.database import Database
from app.core.facts import announce
from app.core.jobs import WORKER
from app.evidence.outcome_windows import Cohort
from app.evidence.profiles import BUCKET, Counted
from app.evidence.seasons import add_to_week
from app.evidence.windows import Window, list_buckets, read_buckets, read_window, start_of_bucket
from app.monitoring.drift.actions import Seen, Terms, heed_performance, keep_summary, keep_verdict
from app.monitoring.drift.cases import Case, find_case
from app.monitoring.drift.closer import look_closer
from app.monitoring.drift.known import LEARNT_AT, MOST_BUCKETS, learn_dependence
from app.monitoring.drift.rules import MOST_NAMED
from app.monitoring.facts import DriftDetected, DriftEnded
from app.monitoring.figures import note_figures
from app.monitoring.kinds import Figure, Finding, Season
from app.monitoring.performance.causing import name_causes
from app.monitoring.performance.looking import fallen_since
from app.monitoring.tables import Watch
from app.monitoring.watches import is_time, lock_watch
from app.registry.queries import get_version_by_id
from app.stats.looks import Look, allowance, looks_due
from app.stats.seasons import hours_of_week

SETTLING_SECONDS = 30.0
"""How long after its end a bucket is looked at: spools of all replicas are shipped by then."""
LONGEST = 8192
"""Buckets of the longest window, four weeks: where rows are few, it takes long to prove anything."""
MOST_READ = 1024
"""Buckets with rows that one window may have: where there are more, rows are many, and longer windows would show no more."""
MOST_ENDS = 288
"""Ends of windows that are looked at in a row, a day's: after a pause the job is done in parts."""
OLDEST = timedelta(days=400)
"""Rows from before that come from a clock that is wrong."""
WEEK = timedelta(days=7) // BUCKET
SEASON_AFTER, SEASON_FROZEN_AFTER = 2 * WEEK, 4 * WEEK
"""When the stream's own week is used, and when it is known well enough: later weeks would teach it what has drifted."""


async def watch_version(database: Database, version_id: UUID, environment: str, settings: Settings) -> None:
    """Look at every window that became complete since the last look; the windows with one end in one transaction."""
    async with database.reads() as session:
        version = await get_version_by_id(session, version_id)
        case = await find_case(session, version, environment, settings)
    if case is None or not case.watching.enabled:
        return
    is_first = True
    for _ in range(MOST_ENDS):
        async with database.writes(WORKER) as session:
            watch = await lock_watch(session, Watch, Cohort(case.version_id, case.environment))
            if is_first and not is_time(case.watching, watch if watch.buckets else None):
                return
            if not await _look_once(session, watch, case):
                return
        is_first = False


async def _look_once(session: AsyncSession, watch: Watch, case: Case) -> bool:
    """Look at the windows with the next end; whether there were any, and the case is still what it was."""
    end = start_of_bucket(clock.now() - timedelta(seconds=SETTLING_SECONDS))
    due = await _due(session, watch, case, end)
    if not due:
        return False
    watch.looked, watch.looked_at = due[0].first + due[0].buckets, clock.now()
    known = replace(case.known, dependence=watch.dependence, buckets=watch.buckets)
    had_season = watch.season_from is not None
    await _look_at_all(session, watch, replace(case, known=known), due)
    return had_season or watch.season_from is None


async def _due(session: AsyncSession, watch: Watch, case: Case, end: datetime) -> Sequence[Look]:
    """The windows with the earliest end that nobody has looked at."""
    since = end - OLDEST if watch.started_at is None else _time_of(watch, watch.looked - LONGEST)
    buckets = await list_buckets(session, case.version_id, case.environment, since=since, until=end)
    if not buckets:
        return []
    watch.started_at = watch.started_at or buckets[0]
    numbers = [number for bucket in buckets if (number := (bucket - watch.started_at) // BUCKET) >= 0]
    until = (end - watch.started_at) // BUCKET
    looks = looks_due(numbers, after=watch.looked, until=until, longest=LONGEST)
    in_reach = (
        look for look in looks if look.first >= watch.origin and _occupied_in(look, numbers) <= MOST_READ
    )
    _, alike = next(groupby(in_reach, lambda look: look.first + look.buckets), (0, ()))
    return list(alike)


def _occupied_in(look: Look, numbers: Sequence[int]) -> int:
    """How many buckets with rows a window has."""
    return bisect_left(numbers, look.first + look.buckets) - bisect_left(numbers, look.first)


def _time_of(watch: Watch, number: int) -> datetime:
    assert watch.started_at is not None
    return watch.started_at + max(0, number) * BUCKET


async def _look_at_all(session: AsyncSession, watch: Watch, case: Case, looks: Sequence[Look]) -> None:
    """Look at windows with one end; the first that proves drift is kept, else the longest. Learn from a new bucket."""
    kept: tuple[Seen, Terms] | None = None
    for look in looks:
        window = await _read(session, watch, case, look)
        terms = Terms(
            case.watching.drift_threshold, allowance(look, case.watching.false_alarms), is_cautious=True
        )
        kept = (await look_closer(session, case, window, terms), terms)
        if look.buckets == 1:
            await _learn(session, watch, case, window)
        if kept[0].verdict.finding == Finding.DRIFT:
            break
    if kept is not None:
        seen, terms = kept
        fallen = await fallen_since(session, case.version_id, case.environment)
        await _tell(session, watch, case, heed_performance(seen, has_fallen=fallen is not None), terms)


async def _read(session: AsyncSession, watch: Watch, case: Case, look: Look) -> Window:
    since, until = _time_of(watch, look.first), _time_of(watch, look.first + look.buckets)
    window = await read_window(
        session, case.reference, environment=case.environment, since=since, until=until
    )
    return replace(window, since=since, until=until)


async def _learn(session: AsyncSession, watch: Watch, case: Case, bucket: Window) -> None:
    """Let a bucket say what the stream's week is like, and now and then the latest how dependent their rows are."""
    watch.buckets += 1
    is_own = case.known.season in (Season.NOT_KNOWN_YET, Season.LEARNT)
    if is_own and watch.looked <= SEASON_FROZEN_AFTER:
        hour = int(hours_of_week(int(bucket.since.timestamp())))
        counted = {hour: Counted(bucket.rows, bucket.profile)}
        await add_to_week(session, case.version_id, case.environment, counted)
    if is_own and watch.season_from is None and watch.looked >= SEASON_AFTER:
        watch.season_from = bucket.until
    if watch.buckets in LEARNT_AT:
        latest = await read_buckets(
            session, case.reference, environment=case.environment, until=bucket.until, most=MOST_BUCKETS
        )
        watch.dependence = await asyncio.to_thread(learn_dependence, case.reference, latest)


async def _tell(session: AsyncSession, watch: Watch, case: Case, seen: Seen, terms: Terms) -> None:
    verdict, ends = seen.verdict, {"since": seen.window.since, "until": seen.window.until}
    keep = keep_verdict if verdict.finding == Finding.DRIFT else keep_summary
    row = keep(session, seen, case, terms, **ends)
    await session.flush()
    where = (case.version.model_name, case.version.number, case.environment, str(row.id))
    if verdict.finding == Finding.DRIFT:
        watch.origin = watch.looked
    if verdict.finding == Finding.DRIFT and watch.drifted_since is None:
        watch.drifted_since = seen.window.since
        names = [each.column.name for each in verdict.drifted]
        first = await _look_at_first(session, case, seen)
        announce(session, DriftDetected(*where, verdict.score, verdict.recommendation, names, first))
    elif verdict.finding == Finding.NO_RELEVANT_DRIFT and watch.drifted_since is not None:
        watch.drifted_since = None
        announce(session, DriftEnded(*where, verdict.score))
    told = {
        Figure.DRIFT_SCORE: verdict.score,
        Figure.DRIFT_DETECTED: float(watch.drifted_since is not None),
    }
    await note_figures(session, case.version_id, case.environment, told)


async def _look_at_first(session: AsyncSession, case: Case, seen: Seen) -> list[str]:
    """Of the columns that drifted those that did something to the loss, where outcomes are known, then the farthest by weight."""
    ends = {"since": seen.window.since, "until": seen.window.until}
    cohort = Cohort(case.version_id, case.environment)
    causes = await name_causes(session, case.version, cohort, **ends)
    names = [each.column.name for each in seen.verdict.drifted]
    ranked = [*(name for name in causes if name in names), *(name for name in names if name not in causes)]
    return ranked[:MOST_NAMED]
