"""Looking at what came true: the window, the baseline, the judgement, and keeping it."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Actor, Database
from app.core.jobs import WORKER
from app.evidence.outcome_sums import FIVE_MINUTES, end_of, refresh, start_of
from app.evidence.outcome_windows import Cohort, mature_until, read_realised, usual_delay
from app.evidence.realised import Realised
from app.monitoring.kinds import PerformanceFinding, Recommendation
from app.monitoring.performance.baselines import Baseline, find_baseline, freeze_first_labels, held_out_rows
from app.monitoring.performance.measuring import Measured, measure
from app.monitoring.performance.rules import Judgement, Told, choose_metric, judge_metric, told_of
from app.monitoring.tables import EstimateWatch, PerformanceVerdictRow, PerformanceWatch
from app.runtimes.schema import Signature, Task

if TYPE_CHECKING:
    from uuid import UUID

    from app.registry.tables import Version

MOST_ROUNDS = 5
"""Of five-minute sums that a check makes anew before it looks, an hour each; the rest is the job's."""


@dataclass(frozen=True)
class Period:
    """Which rows are looked at: those from `since` to `until`, of which those before `mature` have most of their labels.

    Attributes:
        delay: the age at which a prediction is mature.
        is_usual: whether labels usually come so late, and the caller did not set that age.
    """

    since: datetime
    until: datetime
    mature: datetime
    delay: timedelta
    is_usual: bool = True


@dataclass(frozen=True)
class PerformanceTerms:
    """How strictly a window is judged.

    Attributes:
        metric: chosen after the task unless somebody names one.
        design_effect: how many labelled rows count for one; None where nothing is known, and each counts.
    """

    threshold: float
    false_alarms: float
    metric: str | None = None
    design_effect: float | None = None


@dataclass(frozen=True)
class PerformanceSeen:
    """A window and what it shows.

    Attributes:
        whole: sums over all of it.
        compared: those over its mature rows that are later than the baseline's.
        measured: what these tell; `was` is what the baseline tells.
        young: how many labelled rows of the window are not mature.
    """

    period: Period
    whole: Realised
    compared: Realised
    measured: Measured
    was: Told
    judgement: Judgement
    young: int = 0


def recommend(judgement: Judgement, *, is_estimated_fallen: bool = False) -> Recommendation:
    """What performance alone asks for: an estimate counts unless the labels themselves prove that all is well."""
    has_fallen = judgement.finding == PerformanceFinding.FALLEN
    is_well = judgement.finding == PerformanceFinding.HOLDING
    is_urgent = has_fallen or (is_estimated_fallen and not is_well)
    return Recommendation.RETRAIN_IMMEDIATELY if is_urgent else Recommendation.NO_ACTION_NEEDED


async def bring_up_to_date(database: Database, model: str) -> None:
    """Make the sums of what was logged or labelled since they were made last."""
    for _ in range(MOST_ROUNDS):
        async with database.writes(WORKER) as session:
            if not await refresh(session, model):
                return


async def period_of(
    session: AsyncSession, model: str, since: datetime, until: datetime, maturity: timedelta | None = None
) -> Period:
    """A window to the five minutes, and how much of it is mature: by the usual delay of labels, unless another is given."""
    delay = await usual_delay(session, model) if maturity is None else maturity
    mature = mature_until(clock.now(), delay)
    return Period(
        start_of(since, FIVE_MINUTES), end_of(until, FIVE_MINUTES), mature, delay, is_usual=maturity is None
    )


async def baseline_of(
    database: Database, version: "Version", cohort: Cohort, mature: datetime
) -> Baseline | None:
    """What a version is held against; made of its first labels where there is nothing else, once they are enough."""
    async with database.reads() as reading:
        baseline = await find_baseline(reading, version)
    if baseline is not None or held_out_rows(version) or cohort.shadow:
        return baseline
    async with database.writes(WORKER) as session:
        await freeze_first_labels(session, version, Cohort(version.id, cohort.environment), before=mature)
        return await find_baseline(session, version)


async def look_at_outcomes(
    session: AsyncSession,
    signature: Signature,
    cohort: Cohort,
    period: Period,
    baseline: Baseline | None,
    terms: PerformanceTerms,
) -> PerformanceSeen:
    """Hold what came true in a window against a baseline."""
    since = max(period.since, baseline.until) if baseline and baseline.until else period.since
    until = min(period.until, period.mature)
    whole = await read_realised(session, cohort, since=period.since, until=period.until)
    is_same = (since, until) == (period.since, period.until)
    compared = whole if is_same else Realised()
    if not is_same and since < until:
        compared = await read_realised(session, cohort, since=since, until=until)
    seen = await asyncio.to_thread(_look, signature, period, whole, compared, baseline, terms)
    return replace(seen, young=await _count_young(session, cohort, period, whole.labelled))


async def _count_young(session: AsyncSession, cohort: Cohort, period: Period, labelled: int) -> int:
    if not labelled or period.until <= period.mature:
        return 0
    young = await read_realised(session, cohort, since=max(period.since, period.mature), until=period.until)
    return young.labelled


def _look(
    signature: Signature,
    period: Period,
    whole: Realised,
    compared: Realised,
    baseline: Baseline | None,
    terms: PerformanceTerms,
) -> PerformanceSeen:
    alpha, effect = terms.false_alarms, terms.design_effect or 1.0
    measured = measure(signature, compared, alpha, design_effect=effect)
    was = baseline.tell(signature, alpha, design_effect=effect) if baseline else {}
    metric = terms.metric or spokesman(signature.task, was)
    judgement = judge_metric(metric, _judged(measured.metrics, compared, terms), was, terms.threshold)
    if (
        measured.metrics and not compared.labelled and not was
    ):  # labels bring a baseline along; a baseline alone would tell nothing
        judgement = Judgement(PerformanceFinding.INSUFFICIENT_DATA, terms.metric)
    return PerformanceSeen(period, whole, compared, measured, was, judgement)


def _judged(metrics: Told, compared: Realised, terms: PerformanceTerms) -> Told:
    """What a verdict may rest on: nothing of labels that are worth too few independent ones."""
    from app.stats.intervals import MINIMUM, TooLittleData  # noqa: PLC0415 - and SciPy with it

    needed = ceil(MINIMUM * (terms.design_effect or 1.0))
    if compared.labelled >= needed:
        return metrics
    return dict.fromkeys(metrics, TooLittleData("labels", compared.labelled, needed))


def spokesman(task: Task, was: Told) -> str | None:
    """The metric that speaks for a model, of those that its baseline really tells."""
    return choose_metric(task, told_of(was))


def keep_performance(
    session: AsyncSession,
    seen: PerformanceSeen,
    version: "Version",
    environment: str,
    terms: PerformanceTerms,
) -> PerformanceVerdictRow:
    """Store what was found, with the sums that it was found in."""
    actor: Actor = session.info["actor"]
    judgement = seen.judgement
    now, was, loss = judgement.now, judgement.was, judgement.loss
    row = PerformanceVerdictRow(
        model_id=version.model_id, version_id=version.id, version=version.number, environment=environment,
        at=clock.now(), since=seen.period.since, until=seen.period.until, rows=seen.whole.rows,
        labelled=seen.whole.labelled, asked_by=actor.name, finding=judgement.finding,
        recommendation=recommend(judgement), metric=judgement.metric, value=now and now.value, low=now and now.low,
        high=now and now.high, baseline=was and was.value, loss=loss and loss.value, loss_low=loss and loss.low,
        loss_high=loss and loss.high, false_alarms=terms.false_alarms, threshold=terms.threshold, design_effect=terms.design_effect,
        sums=seen.compared.to_json() | {"rows": seen.compared.rows, "labelled": seen.compared.labelled},
    )  # fmt: skip
    session.add(row)
    return row


@dataclass(frozen=True)
class Fallen:
    """Since when a version does worse than its threshold allows, and whether that is known of labels or estimated without."""

    since: datetime
    is_estimated: bool

    def __str__(self) -> str:
        how = "estimated, without labels," if self.is_estimated else "proven"
        return f"Its performance is {how} to have fallen since {self.since:%Y-%m-%d %H:%M} UTC."


async def fallen_since(session: AsyncSession, version_id: "UUID", environment: str) -> Fallen | None:
    """Since when a version is proven to do worse than its threshold allows, as far as its monitors have seen."""
    key = (version_id, environment)
    watch = await session.get(PerformanceWatch, key)
    if watch is not None and watch.fallen_since is not None:
        return Fallen(watch.fallen_since, is_estimated=False)
    estimates = await session.get(EstimateWatch, key)
    if estimates is None or estimates.fallen_since is None:
        return None
    return Fallen(estimates.fallen_since, is_estimated=True)


async def overrule_estimate(session: AsyncSession, cohort: Cohort, since: datetime) -> None:
    """Forget a fall that was estimated: labels prove that all has been well since; what was before says nothing of it."""
    key = {"version_id": cohort.version_id, "environment": cohort.environment}
    fallen = update(EstimateWatch).filter_by(**key).where(EstimateWatch.fallen_since <= since)
    await session.execute(fallen.values(fallen_since=None))
