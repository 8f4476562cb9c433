"""The durable watch over what comes true: every version whose labels come, window by window, with one budget for its life.

Buckets are five minutes of predictions, numbered by time from the version's first label on, so that a late label can't
shift anybody's number. They are looked at once their labels are there as usual, in dyadic windows as for drift.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.config import Settings
from app.core.database import Database
from app.core.facts import announce
from app.core.jobs import WORKER, Claim
from app.evidence.outcome_sums import FIVE_MINUTES, SETTLING, start_of
from app.evidence.outcome_windows import RECENTLY, Cohort, list_labelled, list_told, usual_delay
from app.evidence.profiles import BUCKET
from app.monitoring.facts import PerformanceDropped, PerformanceRecovered
from app.monitoring.figures import note_figures
from app.monitoring.kinds import BaselineKind, Figure, PerformanceFinding
from app.monitoring.performance.baselines import Baseline, ask_for_baseline, held_out_rows
from app.monitoring.performance.causing import name_causes
from app.monitoring.performance.depending import is_learnt_again, learn_effect, suspected
from app.monitoring.performance.looking import (
    PerformanceSeen,
    PerformanceTerms,
    Period,
    baseline_of,
    keep_performance,
    look_at_outcomes,
    overrule_estimate,
)
from app.monitoring.performance.unlabelled import SHARE
from app.monitoring.queries import Watching, watching_of
from app.monitoring.tables import PerformanceWatch
from app.monitoring.watches import LATELY, cohort_of, have_watched, is_time, lock_watch
from app.registry.queries import find_version_by_id
from app.runtimes.schema import Signature
from app.stats.looks import allowance, looks_after

if TYPE_CHECKING:
    from app.registry.tables import Version

WATCH_PERFORMANCE = "watch_performance"
LONGEST = 8192
"""Buckets of the longest window, four weeks: where labels are few, it takes long to prove anything."""
MOST_NAMED = 5
AT_ONCE = 32
"""Windows that are looked at in one transaction, so that none is held for long after a pause."""


@dataclass(frozen=True)
class _Watched:
    """Who is watched, against what, and how strictly."""

    version: "Version"
    cohort: Cohort
    baseline: Baseline
    watching: Watching
    threshold: float
    delay: timedelta


async def ask_for_watches(session: AsyncSession) -> None:
    """Have every version looked at whose labels changed lately, or of which not all days with labels were looked at.

    Labels that come at once may have come long before the next ones usually would.
    """
    now = clock.now()
    told = await list_told(session, since=now - RECENTLY)
    query = select(PerformanceWatch).where(
        PerformanceWatch.version_id.in_({each.version_id for each in told})
    )
    seen = {
        (watch.version_id, watch.environment): watch.began_at + watch.looked * BUCKET
        for watch in await session.scalars(query)
    }
    due = [
        each[:2] for each in told if each.changed_at > now - LATELY or seen.get(each[:2], now) < each.until
    ]
    await have_watched(session, WATCH_PERFORMANCE, due)


async def watch_claimed(claim: Claim, settings: Settings) -> None:
    """Look at what came true of one version."""
    whose = cohort_of(claim)
    await watch_performance(claim.database, whose.version_id, whose.environment, settings)


async def watch_performance(
    database: Database, version_id: UUID, environment: str, settings: Settings
) -> None:
    """Look at every window that is complete and mature since the last look; tell when performance falls and recovers."""
    watched = await _prepare(database, Cohort(version_id, environment), settings)
    while watched is not None:
        async with database.writes(WORKER) as session:
            if not await _look_on(session, watched):
                return


async def _prepare(database: Database, cohort: Cohort, settings: Settings) -> _Watched | None:
    async with database.reads() as reading:
        version = await find_version_by_id(reading, cohort.version_id)
        if version is None:
            return None
        watching = await watching_of(reading, version.model_id, settings)
        state = await reading.get(PerformanceWatch, (cohort.version_id, cohort.environment))
        delay = max(SETTLING, await usual_delay(reading, version.model_name))
    if not is_time(watching, state):
        return None
    baseline = await baseline_of(database, version, cohort, start_of(clock.now() - delay, FIVE_MINUTES))
    if held_out_rows(version) and (baseline is None or baseline.kind == BaselineKind.STATED):
        async with database.writes(WORKER) as session:
            await ask_for_baseline(session, version.id)
    if baseline is None:
        return None
    return _Watched(version, cohort, baseline, watching, settings.performance_threshold, delay)


async def _look_on(session: AsyncSession, watched: _Watched) -> bool:
    """Look at the next buckets; whether there are more."""
    since = watched.baseline.until
    labelled = await list_labelled(session, watched.cohort, minutes=FIVE_MINUTES, since=since)
    if not labelled:
        return False
    state = await lock_watch(session, PerformanceWatch, watched.cohort, began_at=labelled[0])
    await _learn(session, state, watched, len(labelled))
    numbers = [number for at in labelled if (number := (at - state.began_at) // BUCKET) >= 0]
    complete = (start_of(clock.now() - watched.delay, FIVE_MINUTES) - state.began_at) // BUCKET
    looks, state.looked_at = 0, clock.now()
    while state.looked < complete and looks < AT_ONCE:
        looks += await _look_after(session, state, watched, numbers, state.looked)
        state.looked += 1
    return state.looked < complete


async def _learn(session: AsyncSession, state: PerformanceWatch, watched: _Watched, buckets: int) -> None:
    """Let the latest labels say how dependent losses are, now and then."""
    if is_learnt_again(buckets, state.learnt_from):
        until = start_of(clock.now() - watched.delay, FIVE_MINUTES)
        found = await learn_effect(session, watched.version, watched.cohort, until=until)
        state.design_effect, state.learnt_from = found, buckets


async def _look_after(
    session: AsyncSession, state: PerformanceWatch, watched: _Watched, numbers: Sequence[int], number: int
) -> int:
    """Look at the windows that end with a bucket; the first that proves a loss is kept, else the longest.

    The answer is how many were looked at: those that hold no label that a shorter one didn't are not.
    """
    kept: tuple[PerformanceSeen, PerformanceTerms] | None = None
    looks = held = 0
    for look in looks_after(number):
        if look.buckets > LONGEST or look.first < state.origin:
            break
        inside = bisect_left(numbers, number + 1) - bisect_left(numbers, look.first)
        if inside == held:
            continue
        held, looks = inside, looks + 1
        since, until = state.began_at + look.first * BUCKET, state.began_at + (number + 1) * BUCKET
        terms = PerformanceTerms(
            watched.threshold, allowance(look, (1 - SHARE) * watched.watching.false_alarms),
            design_effect=state.design_effect or suspected(),
        )  # fmt: skip
        period = Period(since, until, until, watched.delay)
        signature = Signature.from_json(watched.version.signature)
        seen = await look_at_outcomes(session, signature, watched.cohort, period, watched.baseline, terms)
        kept = (seen, terms)
        if seen.judgement.finding == PerformanceFinding.FALLEN:
            break
        if seen.judgement.finding == PerformanceFinding.HOLDING:
            await overrule_estimate(session, watched.cohort, since)
    if kept is not None:
        await _tell(session, state, watched, *kept, number=number)
    return looks


async def _tell(
    session: AsyncSession,
    state: PerformanceWatch,
    watched: _Watched,
    seen: PerformanceSeen,
    terms: PerformanceTerms,
    *,
    number: int,
) -> None:
    version, judgement = watched.version, seen.judgement
    row = keep_performance(session, seen, version, watched.cohort.environment, terms)
    await note_figures(session, version.id, watched.cohort.environment, _figures(seen))
    has_fallen = judgement.finding == PerformanceFinding.FALLEN
    if not has_fallen:
        row.sums = {}  # those of five minutes between `since` and `until` are it
    await session.flush()
    told = (version.model_name, version.number, watched.cohort.environment, str(row.id))
    if has_fallen:
        state.origin = number + 1
    if judgement.metric is None or judgement.now is None or judgement.was is None:
        return
    what = (judgement.metric, judgement.now.value, judgement.was.value)
    if has_fallen and state.fallen_since is None:
        state.fallen_since = seen.period.since
        ends = {"since": seen.period.since, "until": seen.period.until}
        causes = await name_causes(session, version, watched.cohort, **ends)
        announce(session, PerformanceDropped(*told, *what, causes[:MOST_NAMED]))
    elif judgement.finding == PerformanceFinding.HOLDING and state.fallen_since is not None:
        state.fallen_since = None
        announce(session, PerformanceRecovered(*told, *what))


def _figures(seen: PerformanceSeen) -> Mapping[Figure, float]:
    """What the metrics tell of a look: a regression has no accuracy, and neither have a few labels."""
    compared, accuracy = seen.compared, seen.measured.metrics.get("accuracy")
    figures = {Figure.LABEL_COVERAGE: compared.labelled / compared.rows} if compared.rows else {}
    if accuracy is not None and not isinstance(accuracy, ValueError):
        figures[Figure.ACCURACY] = accuracy.value
    return figures
