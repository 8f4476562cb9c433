"""By how much each model is proven to have got worse: the signal that alarms over performance are raised from."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession

from app.evidence.outcome_windows import (
    RECENTLY,
    Cohort,
    list_told,
    mature_until,
    read_realised,
    usual_delay,
)
from app.evidence.realised import Realised
from app.monitoring.performance.baselines import Baseline, find_baseline
from app.monitoring.performance.depending import find_effect, learn_effect, suspected
from app.monitoring.performance.looking import spokesman
from app.monitoring.performance.measuring import measure
from app.monitoring.performance.rules import LESS_IS_BETTER
from app.registry.queries import find_version_by_id
from app.runtimes.schema import Signature

if TYPE_CHECKING:
    from app.registry.tables import Version

ALPHA = 0.001
"""How often each interval may miss: rules look many times a day, and a drop counts only as far as it is proven."""


async def accuracy_drops(session: AsyncSession, since: datetime, until: datetime) -> Mapping[str, float]:
    """For each model by how much its accuracy is proven to lie below its baseline, 0 where nothing is proven.

    The window is as long as asked for, and ends where labels are there as usual. A regression tells how much its error
    is proven to have grown, relative to its baseline. Who has too few labels to tell is left out.
    """
    drops: dict[str, float] = {}
    for told in await list_told(session, since=until - RECENTLY):
        version = await find_version_by_id(session, told.version_id)
        if version is not None:
            cohort = Cohort(told.version_id, told.environment)
            drop = await _drop_of(session, version, cohort, until - since, until)
            if drop is not None:
                drops[version.model_name] = max(drop, drops.get(version.model_name, 0.0))
    return drops


async def _drop_of(
    session: AsyncSession, version: "Version", cohort: Cohort, length: timedelta, until: datetime
) -> float | None:
    baseline = await find_baseline(session, version)
    if baseline is None:
        return None
    end = mature_until(until, await usual_delay(session, version.model_name))
    start = max(end - length, baseline.until or end - length)
    if start >= end:
        return None
    realised = await read_realised(session, cohort, since=start, until=end)
    effect = await find_effect(session, version.id, cohort.environment)
    effect = effect or await learn_effect(session, version, cohort, until=end) or suspected()
    signature = Signature.from_json(version.signature)
    return await asyncio.to_thread(proven_drop, signature, realised, baseline, effect)


def proven_drop(
    signature: Signature, realised: Realised, baseline: Baseline, design_effect: float
) -> float | None:
    """The part of the drop that is proven, in a thread; None where there are too few labels."""
    from app.stats.intervals import difference, ratio  # noqa: PLC0415 - and SciPy with it

    was = baseline.tell(signature, ALPHA, design_effect=design_effect)
    metric = spokesman(signature.task, was) or ""
    measured = measure(signature, realised, ALPHA, design_effect=design_effect)
    told, known = measured.metrics.get(metric), was.get(metric)
    if told is None or known is None or isinstance(told, ValueError) or isinstance(known, ValueError):
        return None
    if metric not in LESS_IS_BETTER:
        return max(0.0, difference(known, told).low)
    return max(0.0, ratio(told, known).low - 1) if known.low > 0 else None
