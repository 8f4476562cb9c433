"""Windows of what came true: sums of days, hours and five minutes, the coarsest that fit, added up."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.evidence.outcome_sums import DAY, FIVE_MINUTES, HOUR, end_of, start_of, sum_of
from app.evidence.profiles import BUCKET
from app.evidence.realised import Realised
from app.evidence.tables import LiveOutcome
from app.evidence.windows import first_to_reach

USUAL_SHARE = 0.9
"""Of the labels that ever came: whoever is older than their delay has most of what it will get."""
RECENTLY = timedelta(days=30)


@dataclass(frozen=True)
class Slot:
    """What came true of one version in one stretch of time, over all of its arms."""

    at: datetime
    version_id: UUID
    version: int
    realised: Realised


@dataclass(frozen=True)
class Cohort:
    """Whose rows are meant; the arm may be any."""

    version_id: UUID
    environment: str
    arm: str | None = None
    shadow: bool = False

    @property
    def condition(self) -> ColumnElement[bool]:
        """What its stored sums have in common."""
        mine = and_(
            LiveOutcome.version_id == self.version_id,
            LiveOutcome.environment == self.environment,
            LiveOutcome.shadow.is_(self.shadow),
        )
        return mine if self.arm is None else and_(mine, LiveOutcome.arm == self.arm)


async def read_realised(
    session: AsyncSession, cohort: Cohort, *, since: datetime, until: datetime
) -> Realised:
    """What came true of the rows that a cohort was asked between two moments, to the five minutes."""
    stretches = [
        and_(LiveOutcome.minutes == minutes, LiveOutcome.bucket >= start, LiveOutcome.bucket < end)
        for minutes, start, end in stretches_of(since, until)
    ]
    rows = (await session.scalars(select(LiveOutcome).where(cohort.condition, or_(*stretches)))).all()
    return await asyncio.to_thread(sum_of, rows)


async def start_of_latest_labelled(
    session: AsyncSession, cohort: Cohort, *, rows: int, until: datetime
) -> datetime:
    """The first of the latest five minutes before a moment of whose rows so many have labels, or all that there are."""
    fine = and_(cohort.condition, LiveOutcome.minutes == FIVE_MINUTES, LiveOutcome.bucket < until)
    labelled = select(LiveOutcome.bucket, func.sum(LiveOutcome.labelled).label("rows")).where(fine)
    return await first_to_reach(session, labelled.group_by(LiveOutcome.bucket).subquery(), rows) or until


def stretches_of(since: datetime, until: datetime) -> Iterator[tuple[int, datetime, datetime]]:
    """Days, and around them hours, and around these five minutes, that together are the time between two moments.

    >>> from datetime import UTC
    >>> moments = datetime(2026, 3, 1, 22, 50, tzinfo=UTC), datetime(2026, 3, 3, 1, 2, tzinfo=UTC)
    >>> [(minutes, f"{start:%d %H:%M}", f"{end:%d %H:%M}") for minutes, start, end in stretches_of(*moments)]
    [(5, '01 22:50', '01 23:00'), (60, '01 23:00', '02 00:00'), (1440, '02 00:00', '03 00:00'), \
(60, '03 00:00', '03 01:00'), (5, '03 01:00', '03 01:05')]
    """
    return _cover(start_of(since, FIVE_MINUTES), end_of(until, FIVE_MINUTES), (FIVE_MINUTES, HOUR, DAY))


def _cover(start: datetime, end: datetime, grains: Sequence[int]) -> Iterator[tuple[int, datetime, datetime]]:
    minutes, *coarser = grains
    inner_start, inner_end = (end_of(start, coarser[0]), start_of(end, coarser[0])) if coarser else (end, end)
    if inner_start >= inner_end:
        yield minutes, start, end
        return
    if start < inner_start:
        yield minutes, start, inner_start
    yield from _cover(inner_start, inner_end, coarser)
    if inner_end < end:
        yield minutes, inner_end, end


async def read_slots(
    session: AsyncSession, model: str, *, environment: str, since: datetime, minutes: int
) -> list[Slot]:
    """What came true of a model's answers, by version and hour or day, oldest first; shadows are left out.

    Without the distributions of scores: they are the larger part of what is stored, and nobody shows them over time.
    """
    query = select(*_SHORT).where(
        LiveOutcome.model == model,
        LiveOutcome.minutes == minutes,
        LiveOutcome.bucket >= start_of(since, minutes),
        LiveOutcome.environment == environment,
        LiveOutcome.shadow.is_(False),
    )
    rows = (await session.execute(query.order_by(LiveOutcome.bucket, LiveOutcome.version))).all()
    return await asyncio.to_thread(_as_slots, rows)


async def read_latest_slots(
    session: AsyncSession, cohort: Cohort, *, until: datetime, most: int
) -> list[Slot]:
    """The latest five minutes before a moment that hold labels of a cohort, oldest first."""
    mine = and_(
        cohort.condition, LiveOutcome.minutes == FIVE_MINUTES, LiveOutcome.labelled > 0, LiveOutcome.bucket < until
    )  # fmt: skip
    newest = select(LiveOutcome.bucket).where(mine).distinct().order_by(LiveOutcome.bucket.desc()).limit(most)
    first = (await session.scalars(newest)).all()[-1:]
    if not first:
        return []
    query = select(*_SHORT).where(mine, LiveOutcome.bucket >= first[0]).order_by(LiveOutcome.bucket)
    return await asyncio.to_thread(_as_slots, (await session.execute(query)).all())


_SHORT = (
    LiveOutcome.bucket, LiveOutcome.version_id, LiveOutcome.version, LiveOutcome.rows, LiveOutcome.labelled,
    *(LiveOutcome.sums[part].label(part) for part in ("answers", "pairs", "errors")),
)  # fmt: skip


def _as_slots(rows: Sequence[Row[Any]]) -> list[Slot]:
    alike: dict[tuple[datetime, UUID, int], Realised] = {}
    for row in rows:
        place, sums = (row.bucket, row.version_id, row.version), row._mapping
        more = Realised.from_json(row.rows, row.labelled, {"scores": {}, "delays": (), **sums})
        alike[place] = alike[place] + more if place in alike else more
    return [Slot(*place, realised) for place, realised in alike.items()]


async def usual_delay(session: AsyncSession, model: str) -> timedelta:
    """Within which time most labels of a model came lately, to a factor of two; nothing while there are none."""
    delays = select(LiveOutcome.sums["delays"]).where(
        LiveOutcome.model == model, LiveOutcome.minutes == DAY, LiveOutcome.bucket >= clock.now() - RECENTLY
    )
    counted: Counter[int] = Counter()
    for stored in await session.scalars(delays):
        counted.update(dict(stored))
    return timedelta(seconds=Realised(delays=counted).delay_seconds(USUAL_SHARE) or 0)


def mature_until(now: datetime, delay: timedelta) -> datetime:
    """The end of the last bucket whose labels are there by now, if they come as usual.

    Where most come within a bucket's own length, the present one counts, too.

    >>> from datetime import UTC
    >>> noon = datetime(2026, 3, 1, 12, 2, tzinfo=UTC)
    >>> [f"{mature_until(noon, timedelta(minutes=minutes)):%H:%M}" for minutes in (1, 60)]
    ['12:05', '11:00']
    """
    return end_of(now, FIVE_MINUTES) if delay < BUCKET else start_of(now - delay, FIVE_MINUTES)


async def list_labelled(
    session: AsyncSession, cohort: Cohort, *, minutes: int, since: datetime | None = None
) -> Sequence[datetime]:
    """Which stretches of a cohort hold labels, in order."""
    query: Select[datetime] = (
        select(LiveOutcome.bucket)
        .where(cohort.condition, LiveOutcome.minutes == minutes, LiveOutcome.labelled > 0)
        .distinct()
        .order_by(LiveOutcome.bucket)
    )
    if since is not None:
        query = query.where(LiveOutcome.bucket >= since)
    return (await session.scalars(query)).all()


async def count_labelled(
    session: AsyncSession, cohort: Cohort, *, minutes: int
) -> list[tuple[datetime, int]]:
    """How many labels each stretch of a cohort holds that holds any, in order."""
    query = (
        select(LiveOutcome.bucket, func.sum(LiveOutcome.labelled))
        .where(cohort.condition, LiveOutcome.minutes == minutes, LiveOutcome.labelled > 0)
        .group_by(LiveOutcome.bucket)
        .order_by(LiveOutcome.bucket)
    )
    return [(bucket, int(labelled)) for bucket, labelled in await session.execute(query)]


async def find_last_labelled(
    session: AsyncSession, cohort: Cohort, *, since: datetime, until: datetime, share: float
) -> datetime | None:
    """The end of the last five minutes between two moments of whose rows at least this share has its label."""
    query = (
        select(LiveOutcome.bucket)
        .where(cohort.condition, LiveOutcome.minutes == FIVE_MINUTES)
        .where(LiveOutcome.bucket >= since, LiveOutcome.bucket < until)
        .group_by(LiveOutcome.bucket)
        .having(func.sum(LiveOutcome.labelled) >= share * func.sum(LiveOutcome.rows))
        .order_by(LiveOutcome.bucket.desc())
        .limit(1)
    )
    last = await session.scalar(query)
    return None if last is None else last + BUCKET


class Told(NamedTuple):
    """A version of which something came true: the end of the last day of predictions with labels, and when these changed."""

    version_id: UUID
    environment: str
    until: datetime
    changed_at: datetime


async def list_told(session: AsyncSession, *, since: datetime) -> Sequence[Told]:
    """The versions, by their environments, whose labels changed since a moment; shadows are left out."""
    whose = (LiveOutcome.version_id, LiveOutcome.environment)
    query = (
        select(*whose, func.max(LiveOutcome.bucket), func.max(LiveOutcome.made_at))
        .where(LiveOutcome.minutes == DAY, LiveOutcome.made_at >= since)
        .where(LiveOutcome.labelled > 0, LiveOutcome.shadow.is_(False))
        .group_by(*whose)
    )
    days = (await session.execute(query)).all()
    return [Told(version, where, day + timedelta(days=1), at) for version, where, day, at in days]
