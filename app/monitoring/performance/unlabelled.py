"""The durable watch over versions whose labels are missing: what the latest rows let expect, held against the baseline.

Each look is at the rows since the one before, so that none counts twice. `SHARE` of the budget of false alarms is spent on
these looks, one after the other; what labels show has the rest.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.config import Settings
from app.core.database import Database
from app.core.facts import announce
from app.core.jobs import WORKER, Claim
from app.evidence.latest import Latest, read_latest
from app.evidence.outcome_sums import FIVE_MINUTES, SETTLING, start_of
from app.evidence.outcome_windows import (
    Cohort,
    find_last_labelled,
    read_latest_slots,
    read_realised,
)
from app.evidence.profiles import BUCKET
from app.evidence.realised import Realised
from app.evidence.windows import list_answering
from app.monitoring.facts import EstimatedPerformanceDropped, EstimatedPerformanceRecovered
from app.monitoring.figures import note_figures
from app.monitoring.kinds import Figure, PerformanceFinding
from app.monitoring.performance.baselines import Baseline, find_baseline
from app.monitoring.performance.depending import enough_since, find_effect, suspected
from app.monitoring.performance.estimating import Estimated, estimate
from app.monitoring.performance.looking import recommend
from app.monitoring.performance.rules import Judgement
from app.monitoring.queries import Watching, watching_of
from app.monitoring.tables import EstimateWatch, PerformanceVerdictRow
from app.monitoring.watches import LATELY, cohort_of, have_watched, is_time, lock_watch
from app.registry.queries import find_version_by_id
from app.runtimes.schema import Signature, Task
from app.stats.looks import Look, allowance

if TYPE_CHECKING:
    from app.registry.tables import Version

WATCH_UNLABELLED = "watch_unlabelled"
SHARE = 0.5
"""Of the budget of false alarms: what labels show has the other half."""
ENOUGH_LABELS = 0.5
"""Of the rows of five minutes: where as many have come, what is known is told and nothing is estimated."""
ESTIMATED_TASKS = (Task.CLASSIFICATION, Task.REGRESSION)
FEWEST_ROWS, MOST_ROWS, MOST_BUCKETS = 100, 5000, 2048


@dataclass(frozen=True)
class _Case:
    """Who is looked at, against what, and how strictly."""

    version: "Version"
    cohort: Cohort
    baseline: Baseline
    watching: Watching
    threshold: float
    effect: float

    @property
    def signature(self) -> Signature:
        """Of the version."""
        return Signature.from_json(self.version.signature)


@dataclass(frozen=True)
class _Window:
    """The rows since the last look."""

    since: datetime
    until: datetime
    realised: Realised
    alpha: float


async def ask_for_estimates(session: AsyncSession) -> None:
    """Have every version looked at that answered somebody lately."""
    await have_watched(session, WATCH_UNLABELLED, await list_answering(session, since=clock.now() - LATELY))


async def unlabelled_claimed(claim: Claim, settings: Settings) -> None:
    """Estimate how one version does."""
    await watch_unlabelled(claim.database, cohort_of(claim), settings)


async def watch_unlabelled(database: Database, cohort: Cohort, settings: Settings) -> None:
    """Look once at the rows since the last look, if their labels are missing; tell when performance seems to fall and recover."""
    async with database.reads() as reading:
        case = await _find_case(reading, cohort, settings)
        window = None if case is None else await _find_window(reading, case)
        if case is None or window is None:
            return
        before, rows = await _read_rows(reading, case, window)
    found = await asyncio.to_thread(_estimate, case, before, rows, window.alpha)
    async with database.writes(WORKER) as session:
        await _keep(session, case, window, found)


async def _find_case(session: AsyncSession, cohort: Cohort, settings: Settings) -> _Case | None:
    version = await find_version_by_id(session, cohort.version_id)
    if version is None or Task(version.signature["task"]) not in ESTIMATED_TASKS:
        return None
    baseline = await find_baseline(session, version)
    if baseline is None:
        return None
    watching = await watching_of(session, version.model_id, settings)
    effect = await find_effect(session, cohort.version_id, cohort.environment) or suspected()
    return _Case(version, cohort, baseline, watching, settings.performance_threshold, effect)


async def _find_window(session: AsyncSession, case: _Case) -> _Window | None:
    """The rows since the last look, or the last labels, as far back as windows reach; None if it isn't time, or there are few."""
    state = await session.get(EstimateWatch, (case.cohort.version_id, case.cohort.environment))
    if not is_time(case.watching, state):
        return None
    until = start_of(clock.now() - SETTLING, FIVE_MINUTES)
    reach = start_of(until - timedelta(hours=case.watching.window_hours), FIVE_MINUTES)
    since = max(reach, case.baseline.until or reach, (state and state.until) or reach)
    labelled = await find_last_labelled(session, case.cohort, since=since, until=until, share=ENOUGH_LABELS)
    realised = await read_realised(session, case.cohort, since=labelled or since, until=until)
    if realised.rows < FEWEST_ROWS:
        return None
    alpha = alpha_of(state.looks if state else 0, case.watching.false_alarms)
    return _Window(labelled or since, until, realised, alpha)


def alpha_of(looks: int, false_alarms: float) -> float:
    """What a look may spend after so many; windows are of one length, so that what `allowance` keeps for longer ones is theirs as well."""
    return 2 * allowance(Look(looks, 1), SHARE * false_alarms)


async def _read_rows(session: AsyncSession, case: _Case, window: _Window) -> tuple[Latest, Latest]:
    """The labelled rows from before a window, and its own; of each the latest."""
    before = Latest.none()
    slots = await read_latest_slots(session, case.cohort, until=window.since, most=MOST_BUCKETS)
    model, with_features = case.version.model_name, case.signature.task == Task.REGRESSION
    read = partial(read_latest, session, model, case.cohort, with_features=with_features, most=MOST_ROWS)
    if slots:
        since, until = enough_since(slots, MOST_ROWS), slots[-1].at + BUCKET
        before = await read(since=since, until=until, only_labelled=True)
    return before, await read(since=window.since, until=window.until)


def _estimate(case: _Case, before: Latest, rows: Latest, alpha: float) -> Estimated:
    was = case.baseline.tell(case.signature, alpha, design_effect=case.effect)
    return estimate(
        case.signature, before, rows, was,
        threshold=case.threshold, alpha=alpha, design_effect=case.effect,
    )  # fmt: skip


async def _keep(session: AsyncSession, case: _Case, window: _Window, found: Estimated) -> None:
    """Keep what was found, unless somebody else has looked meanwhile."""
    state = await lock_watch(session, EstimateWatch, case.cohort)
    state.looked_at = clock.now()
    judgement = found.judgement
    if (state.until and state.until > window.since) or judgement is None or judgement.now is None:
        return
    state.until, state.looks = window.until, state.looks + 1
    row = _as_row(case, window, judgement)
    session.add(row)
    await note_figures(session, case.version.id, case.cohort.environment, _figures(found))
    await session.flush()
    _tell(session, state, case, window, judgement, str(row.id))


def _as_row(case: _Case, window: _Window, judgement: Judgement) -> PerformanceVerdictRow:
    now, was, loss, version = judgement.now, judgement.was, judgement.loss, case.version
    return PerformanceVerdictRow(
        model_id=version.model_id, version_id=version.id, version=version.number, environment=case.cohort.environment,
        at=clock.now(), since=window.since, until=window.until, rows=window.realised.rows,
        labelled=window.realised.labelled, asked_by=WORKER.name, finding=judgement.finding,
        recommendation=recommend(judgement), metric=judgement.metric, value=now and now.value, low=now and now.low,
        high=now and now.high, baseline=was and was.value, loss=loss and loss.value, loss_low=loss and loss.low,
        loss_high=loss and loss.high, false_alarms=window.alpha, threshold=case.threshold,
        design_effect=case.effect, sums={}, estimated=True,
    )  # fmt: skip


def _figures(found: Estimated) -> Mapping[Figure, float]:
    accuracy = found.metrics.get("accuracy")
    if accuracy is None or isinstance(accuracy, ValueError):
        return {}
    return {Figure.ESTIMATED_ACCURACY: accuracy.value}


def _tell(
    session: AsyncSession,
    state: EstimateWatch,
    case: _Case,
    window: _Window,
    judgement: Judgement,
    verdict_id: str,
) -> None:
    """Announce a fall and its end, once each."""
    if judgement.metric is None or judgement.now is None or judgement.was is None:
        return
    version, finding = case.version, judgement.finding
    told = (version.model_name, version.number, case.cohort.environment, verdict_id)
    what = (judgement.metric, judgement.now.value, judgement.was.value)
    if finding == PerformanceFinding.FALLEN and state.fallen_since is None:
        state.fallen_since = window.since
        announce(session, EstimatedPerformanceDropped(*told, *what))
    elif finding == PerformanceFinding.HOLDING and state.fallen_since is not None:
        state.fallen_since = None
        announce(session, EstimatedPerformanceRecovered(*told, *what))
