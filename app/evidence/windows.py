"""Windows of the evidence: live profiles added up, beside the reference that they are held against."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, Subquery, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.evidence.profiles import BUCKET
from app.evidence.rules import ReferenceKind
from app.evidence.tables import LiveProfile, ProfilePlan
from app.runtimes.profiles import Plan
from app.runtimes.row_order import RowOrder
from app.stats.profile import Profile
from app.stats.seasons import HOURS, hours_of_week


@dataclass(frozen=True)
class Reference:
    """What the rows of a version are held against."""

    version_id: UUID
    kind: ReferenceKind
    rows: int
    made_at: datetime
    plan: Plan
    profile: Profile
    order: RowOrder


@dataclass(frozen=True)
class Window:
    """The rows of a stretch of time, added up.

    Attributes:
        since, until: the ends of the first and the last bucket that lie in it.
        buckets: how many of them hold rows.
        hours: how many rows are of which hour of the week; None where nobody knows when they were.
    """

    since: datetime
    until: datetime
    rows: int
    buckets: int
    profile: Profile
    hours: NDArray[np.float64] | None = None


async def find_reference(session: AsyncSession, version_id: UUID) -> Reference | None:
    """The reference of a version, once it is there."""
    row = await session.get(ProfilePlan, version_id)
    if row is None:
        return None
    plan = Plan.from_json(row.columns)
    profile = Profile.from_bytes(plan.layout, *row.sections)
    order = RowOrder.from_json(row.row_order, len(plan.columns))
    return Reference(version_id, row.kind, row.rows, row.made_at, plan, profile, order)


async def read_window(
    session: AsyncSession,
    reference: Reference,
    *,
    environment: str,
    since: datetime,
    until: datetime,
    arm: str | None = None,
) -> Window:
    """The rows that were answered between two moments, to the bucket; those of shadows are not among them.

    Buckets of a month ago and longer are hours, much older ones days: `rollups` has added them up.
    """
    query = _select_live(reference.version_id, environment, arm).where(
        LiveProfile.bucket >= start_of_bucket(since), LiveProfile.bucket < until
    )
    told = (LiveProfile.bucket, LiveProfile.minutes, LiveProfile.rows, *LiveProfile.cells())
    rows = (await session.execute(query.with_only_columns(*told))).all()
    starts = {row.bucket for row in rows}
    return Window(
        min(starts, default=since),
        max((row.bucket + timedelta(minutes=row.minutes) for row in rows), default=until),
        sum(row.rows for row in rows),
        len(starts),
        Profile.merged_from_bytes(reference.plan.layout, [row[3:] for row in rows]),
        _rows_by_hour([row.bucket for row in rows], [row.rows for row in rows]),
    )


def _rows_by_hour(buckets: Sequence[datetime], rows: Sequence[int]) -> NDArray[np.float64]:
    hours = hours_of_week([int(bucket.timestamp()) for bucket in buckets])
    return np.bincount(hours, rows, minlength=HOURS).astype(np.float64)


async def start_of_latest(
    session: AsyncSession, version_id: UUID, environment: str, *, rows: int, until: datetime, arm: str | None
) -> datetime:
    """The first of the latest buckets before a moment that hold so many rows, or all that there are."""
    buckets = _select_live(version_id, environment, arm).where(LiveProfile.bucket < until)
    counted = buckets.with_only_columns(LiveProfile.bucket, func.sum(LiveProfile.rows).label("rows"))
    return await first_to_reach(session, counted.group_by(LiveProfile.bucket).subquery(), rows) or until


async def first_to_reach(session: AsyncSession, buckets: Subquery, rows: int) -> datetime | None:
    """Going back in time, the bucket with which so many rows are reached, or else the last; None where there is none."""
    cells = buckets.c
    reached = func.sum(cells.rows).over(order_by=cells.bucket.desc())
    back = select(cells.bucket, reached.label("reached")).subquery().c
    first = func.max(back.bucket).filter(back.reached >= rows)
    return await session.scalar(select(func.coalesce(first, func.min(back.bucket))))


async def read_buckets(
    session: AsyncSession, reference: Reference, *, environment: str, until: datetime, most: int
) -> list[Profile]:
    """The latest buckets before a moment, each by itself, in the order of time."""
    query = _select_live(reference.version_id, environment, None).where(LiveProfile.bucket < until)
    newest = query.with_only_columns(LiveProfile.bucket).distinct().order_by(LiveProfile.bucket.desc())
    first = (await session.scalars(newest.limit(most))).all()[-1:]
    cells = (LiveProfile.bucket, *LiveProfile.cells())
    found = query.where(LiveProfile.bucket >= first[0]) if first else query
    rows = (await session.execute(found.with_only_columns(*cells).order_by(LiveProfile.bucket))).all()
    return [
        Profile.merged_from_bytes(reference.plan.layout, [row[1:] for row in alike])
        for _, alike in groupby(rows, lambda row: row.bucket)
    ]


async def list_buckets(
    session: AsyncSession, version_id: UUID, environment: str, *, since: datetime, until: datetime
) -> Sequence[datetime]:
    """The buckets between two moments that hold rows of a version, in order."""
    query = _select_live(version_id, environment, None).where(
        LiveProfile.bucket >= since, LiveProfile.bucket < until
    )
    starts = query.with_only_columns(LiveProfile.bucket).distinct().order_by(LiveProfile.bucket)
    return (await session.scalars(starts)).all()


async def list_answering(session: AsyncSession, *, since: datetime) -> Sequence[tuple[UUID, str]]:
    """The versions, with their environments, that answered somebody since a moment."""
    query = (
        select(LiveProfile.version_id, LiveProfile.environment)
        .where(LiveProfile.bucket >= since, LiveProfile.shadow.is_(False))
        .distinct()
    )
    return [(row.version_id, row.environment) for row in await session.execute(query)]


def start_of_bucket(moment: datetime) -> datetime:
    """The beginning of the bucket that a moment falls into."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return moment - (moment - midnight) % BUCKET


def _select_live(version_id: UUID, environment: str, arm: str | None) -> Select[LiveProfile]:
    query = select(LiveProfile).where(
        LiveProfile.version_id == version_id,
        LiveProfile.environment == environment,
        LiveProfile.shadow.is_(False),
    )
    return query if arm is None else query.where(LiveProfile.arm == arm)
