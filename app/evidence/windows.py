"""Windows of the evidence: live profiles added up, beside the reference that they are held against."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.evidence.profiles import BUCKET
from app.evidence.rules import ReferenceKind
from app.evidence.tables import LiveProfile, ProfilePlan
from app.runtimes.profiles import Plan
from app.stats.profile import Profile


@dataclass(frozen=True)
class Reference:
    """What the rows of a version are held against."""

    version_id: UUID
    kind: ReferenceKind
    rows: int
    made_at: datetime
    plan: Plan
    profile: Profile


@dataclass(frozen=True)
class Window:
    """The rows of a stretch of time, added up.

    Attributes:
        since, until: the ends of the first and the last bucket that lie in it.
        buckets: how many of them hold rows.
    """

    since: datetime
    until: datetime
    rows: int
    buckets: int
    profile: Profile


async def find_reference(session: AsyncSession, version_id: UUID) -> Reference | None:
    """The reference of a version, once it is there."""
    row = await session.get(ProfilePlan, version_id)
    if row is None:
        return None
    plan = Plan.from_json(row.columns)
    profile = Profile.from_bytes(plan.layout, row.counts, row.sums, row.extremes)
    return Reference(version_id, row.kind, row.rows, row.made_at, plan, profile)


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
    cells = (LiveProfile.counts, LiveProfile.sums, LiveProfile.extremes)
    rows = (
        await session.execute(
            query.with_only_columns(LiveProfile.bucket, LiveProfile.rows, *cells, LiveProfile.minutes)
        )
    ).all()
    starts = {row.bucket for row in rows}
    return Window(
        min(starts, default=since),
        max((row.bucket + timedelta(minutes=row.minutes) for row in rows), default=until),
        sum(row.rows for row in rows),
        len(starts),
        Profile.merged_from_bytes(reference.plan.layout, [row[2:5] for row in rows]),
    )


async def list_buckets(
    session: AsyncSession, version_id: UUID, environment: str, *, until: datetime
) -> Sequence[datetime]:
    """The buckets before a moment that hold rows of a version, in order."""
    query = _select_live(version_id, environment, None).where(LiveProfile.bucket < until)
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
