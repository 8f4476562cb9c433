"""How many labelled rows of a version count for one, because its errors come in bursts: learnt from its latest labels.

The log's own order is that of time, so that labelled rows say it from the first bucket on; the sums of five minutes correct
them by what is too slow for rows to show.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.evidence.latest import Latest, read_latest
from app.evidence.outcome_windows import Cohort, Slot, read_latest_slots
from app.evidence.profiles import BUCKET
from app.monitoring.performance.close_looks import known_losses
from app.monitoring.tables import PerformanceWatch
from app.runtimes.schema import Signature, Task

if TYPE_CHECKING:
    from app.registry.tables import Version

MOST_BUCKETS, MOST_LABELS = 256, 2000
"""The latest of each that are asked: the losses of so many rows are read in some twenty milliseconds."""


def suspected() -> float:
    """What a monitor takes it to be while too few labels have come to say anything."""
    from app.stats.dependence import SUSPECTED  # noqa: PLC0415 - and SciPy with it

    return SUSPECTED


def is_learnt_again(buckets: int, learnt_from: int) -> bool:
    """Whether enough labelled buckets have come since the last time: twice as many, later `MOST_BUCKETS` more.

    >>> [buckets for buckets in range(1, 9) if is_learnt_again(buckets, learnt_from=2)]
    [4, 5, 6, 7, 8]
    """
    return buckets >= learnt_from + min(max(learnt_from, 1), MOST_BUCKETS)


async def learn_effect(
    session: AsyncSession, version: "Version", cohort: Cohort, *, until: datetime
) -> float | None:
    """How many labelled rows count for one, by the latest labels before a moment; None where these say nothing."""
    slots = await read_latest_slots(session, cohort, until=until, most=MOST_BUCKETS)
    if not slots:
        return None
    latest = await read_latest(
        session, version.model_name, cohort,
        since=enough_since(slots, MOST_LABELS), until=slots[-1].at + BUCKET, only_labelled=True, most=MOST_LABELS,
    )  # fmt: skip
    return await asyncio.to_thread(effect_of, Signature.from_json(version.signature), slots, latest)


def enough_since(slots: Sequence[Slot], wanted: int) -> datetime:
    """The start of the latest buckets that together hold as many labelled rows as are wanted, so that no more are looked through."""
    labelled = 0
    for slot in reversed(slots):
        labelled += slot.realised.labelled
        if labelled >= wanted:
            return slot.at
    return slots[0].at


def effect_of(signature: Signature, slots: Sequence[Slot], latest: Latest) -> float | None:
    """What the sums of five minutes and the latest labelled rows say together, in a thread."""
    from app.stats.loss_dependence import loss_effect, of_loss_buckets, of_loss_rows  # noqa: PLC0415 - and SciPy with it

    _, losses = known_losses(signature, latest)
    kinds = [losses, np.square(losses)] if signature.task == Task.REGRESSION else [losses]
    buckets = [slot.realised.loss_sums() for slot in slots]
    known = [sums for sums in buckets if sums and sums[0].rows]
    return loss_effect(of_loss_rows(kinds), of_loss_buckets([*zip(*known, strict=True)]))


async def find_effect(session: AsyncSession, version_id: UUID, environment: str) -> float | None:
    """What the monitor of a version has learnt."""
    return (await find_effects(session, [version_id], environment)).get(version_id)


async def find_effects(
    session: AsyncSession, version_ids: Iterable[UUID], environment: str
) -> Mapping[UUID, float]:
    """What the monitors of some versions have learnt, as far as they have."""
    query = select(PerformanceWatch.version_id, PerformanceWatch.design_effect).where(
        PerformanceWatch.version_id.in_(version_ids),
        PerformanceWatch.environment == environment,
        PerformanceWatch.design_effect.is_not(None),
    )
    return {row.version_id: row.design_effect for row in await session.execute(query)}
