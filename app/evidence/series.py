"""Series of the evidence over time: the mean of a column, the rows, or the loss of each bucket, over all versions of a model."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.evidence.outcome_windows import mature_until, read_slots, usual_delay
from app.evidence.profiles import BUCKET, BUCKET_MINUTES
from app.evidence.tables import LiveProfile, ProfilePlan
from app.runtimes.profiles import Plan
from app.stats.axes import BINS, NumericAxis
from app.stats.profile import CELLS, FRACTION

Values = Sequence[tuple[datetime, float]]
_COUNT_BYTES, _SUM_BYTES = 4, 8
_MOST_BUCKETS = 2000  # read at once: a week of five minutes


@dataclass(frozen=True)
class Place:
    """Where a column of numbers stands in a version's profiles, and the units of its sums."""

    column: int
    centre: float
    scale: float

    def mean(self, counts: bytes, sums: bytes) -> tuple[int, float]:
        """How many values a bucket has, and their sum in the column's own units."""
        size = int(np.frombuffer(counts, "<i4").sum())
        standard = int(np.frombuffer(sums, "<i8")[0]) / FRACTION
        return size, self.centre * size + self.scale * standard


class Series:
    """Reads series; where columns stand is remembered, as plans never change."""

    def __init__(self) -> None:
        self._places: dict[UUID, Mapping[str, Place | None]] = {}

    async def places(self, session: AsyncSession, version_id: UUID) -> Mapping[str, Place | None]:
        """The columns of a version's profiles; None for one of labels. Empty while it has no plan."""
        if version_id not in self._places:
            stored = await session.scalar(
                select(ProfilePlan.columns).where(ProfilePlan.version_id == version_id)
            )
            if stored is None:
                return {}
            self._places[version_id] = _places_in(Plan.from_json(stored))
        return self._places[version_id]

    async def bucket_means(
        self,
        session: AsyncSession,
        version_ids: Collection[UUID],
        column: str,
        *,
        environment: str,
        after: datetime | None,
        until: datetime,
    ) -> Values:
        """The mean of a column of numbers in each bucket with values that began after one moment and before another."""
        totals: dict[datetime, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for version_id in version_ids:
            place = (await self.places(session, version_id)).get(column)
            if place is not None:
                live = _select_live([version_id], environment, after, until)
                for bucket, counts, sums in await session.execute(live.with_only_columns(*_cells(place))):
                    size, total = place.mean(counts, sums)
                    totals[bucket][0] += size
                    totals[bucket][1] += total
        return [(at, total / size) for at, (size, total) in sorted(totals.items()) if size][:_MOST_BUCKETS]


async def bucket_rows(
    session: AsyncSession,
    version_ids: Collection[UUID],
    *,
    environment: str,
    after: datetime,
    until: datetime,
    has_begun: bool = False,
    silent_until: datetime | None = None,
) -> Values:
    """How many rows were answered in each bucket; none is a number too, from the first row on.

    Args:
        session: to read by.
        version_ids: of the model.
        environment: where they answer.
        after: the bucket before the first.
        until: where the last one ends.
        has_begun: whether there were rows before.
        silent_until: where the last one ends that is known to stay empty though none after it has rows; None: there is none.
    """
    rows = func.sum(LiveProfile.rows)
    live = _select_live(version_ids, environment, after, until).with_only_columns(LiveProfile.bucket, rows)
    query = live.order_by(None).group_by(LiveProfile.bucket).order_by(LiveProfile.bucket)
    counts = {at: float(count) for at, count in await session.execute(query.limit(_MOST_BUCKETS))}
    first = after + BUCKET if has_begun else min(counts, default=until)
    end = max([first, *(at + BUCKET for at in counts), *([min(silent_until, until)] if silent_until else [])])
    return [(at, counts.get(at, 0.0)) for at in _buckets(first, end)]


def _buckets(first: datetime, end: datetime) -> list[datetime]:
    """Every bucket that lies between two moments, but not too many."""
    return [first + i * BUCKET for i in range(min((end - first) // BUCKET, _MOST_BUCKETS))]


async def bucket_losses(
    session: AsyncSession, model: str, *, environment: str, after: datetime, until: datetime
) -> Values:
    """The share of wrong answers, or the mean absolute error, of each bucket whose labels are there as usual."""
    mature = min(until, mature_until(clock.now(), await usual_delay(session, model)))
    slots = await read_slots(
        session, model, environment=environment, since=after + BUCKET, minutes=BUCKET_MINUTES
    )
    totals: dict[datetime, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for slot in slots:
        rows, loss = slot.realised.loss()
        totals[slot.at][0] += rows
        totals[slot.at][1] += loss
    means = [(at, loss / rows) for at, (rows, loss) in sorted(totals.items()) if rows and at < mature]
    return means[:_MOST_BUCKETS]


def _places_in(plan: Plan) -> Mapping[str, Place | None]:
    return {
        column.name: Place(i, column.axis.centre, column.axis.scale)
        if isinstance(column.axis, NumericAxis)
        else None
        for i, column in enumerate(plan.columns)
    }


def _cells(place: Place) -> tuple[Any, Any, Any]:
    """The bins and the sum of one column: a profile of fifty is thirty times as large."""
    first_count, first_sum = place.column * CELLS * _COUNT_BYTES, place.column * 2 * _SUM_BYTES
    return (
        LiveProfile.bucket,
        func.substring(LiveProfile.counts, first_count + 1, BINS * _COUNT_BYTES),
        func.substring(LiveProfile.sums, first_sum + 1, _SUM_BYTES),
    )


def _select_live(
    version_ids: Collection[UUID], environment: str, after: datetime | None, until: datetime
) -> Select[LiveProfile]:
    query = select(LiveProfile).where(
        LiveProfile.version_id.in_(version_ids),
        LiveProfile.environment == environment,
        LiveProfile.shadow.is_(False),
        LiveProfile.bucket < until,
    )
    query = query if after is None else query.where(LiveProfile.bucket > after)
    return query.order_by(LiveProfile.bucket)
