"""Old live profiles, added up: five minutes become hours after a month, hours become days after four hundred days.

Adding is exact, so a roll-up is what its parts were. Hours are kept for as long as any window reaches back, since days no longer
tell the hours of the week apart. Replicas' shares are added up as well: nobody writes to the past, but for a spool that was
held up for a month, whose rows are added later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Database
from app.core.jobs import WORKER
from app.evidence.profiles import BUCKET, Counted, Place, add_to_profile
from app.evidence.tables import SECTIONS, LiveProfile, ProfilePlan
from app.runtimes.profiles import Plan
from app.stats.profile import Layout, Profile

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Step:
    """Buckets of one length become such of another when they are old enough."""

    part: timedelta
    whole: timedelta
    after: timedelta
    spool: str
    """Under which the roll-ups are kept, in the place of the spools' own rows."""


STEPS = (
    Step(BUCKET, timedelta(hours=1), timedelta(days=31), "by the hour"),
    Step(timedelta(hours=1), DAY, timedelta(days=400), "by the day"),
)
_PLACE = ("bucket", "environment", "arm", "shadow")


async def roll_up_profiles(database: Database) -> int:
    """Roll up all that has become old enough, a version's day at a time; how many rows went."""
    gone = 0
    for step in STEPS:
        async with database.reads() as reading:
            due = await _list_due(reading, step)
        for version_id, day in due:
            async with database.writes(WORKER) as session:
                gone += await roll_up_day(session, step, version_id, day)
    return gone


async def _list_due(session: AsyncSession, step: Step) -> Sequence[Row[UUID, datetime]]:
    """The versions and days of which something is to be rolled up; only whole days are."""
    day = func.date_trunc("day", LiveProfile.bucket, "UTC").label("day")
    query = (
        select(LiveProfile.version_id, day)
        .where(LiveProfile.minutes == _minutes(step.part), LiveProfile.bucket < _midnight(step.after))
        .distinct()
        .order_by(day, LiveProfile.version_id)
    )
    return (await session.execute(query)).all()


async def roll_up_day(session: AsyncSession, step: Step, version_id: UUID, day: datetime) -> int:
    """Put sums in the place of a version's buckets of one day; how many rows went. Done again, there is nothing to do."""
    stored = await session.scalar(select(ProfilePlan.columns).where(ProfilePlan.version_id == version_id))
    assert stored is not None, "what is counted is counted along a plan"
    layout = Plan.from_json(stored).layout
    parts = (
        delete(LiveProfile)
        .where(LiveProfile.version_id == version_id, LiveProfile.minutes == _minutes(step.part))
        .where(LiveProfile.bucket >= day, LiveProfile.bucket < day + DAY)
        .returning(*(getattr(LiveProfile, name) for name in _PLACE), LiveProfile.rows, *LiveProfile.cells())
    )
    gone = (await session.execute(parts.execution_options(synchronize_session=False))).all()
    for key, alike in groupby(sorted(gone, key=_whole_of(step)), _whole_of(step)):
        await add_to_profile(
            session,
            Place(version_id, *key),
            step.spool,
            _sum(layout, list(alike)),
            minutes=_minutes(step.whole),
        )
    return len(gone)


def _whole_of(step: Step) -> Any:
    """To which whole a row belongs."""
    rest = attrgetter(*_PLACE[1:])
    return lambda row: (_start(row.bucket, step.whole), *rest(row))


def _start(bucket: datetime, whole: timedelta) -> datetime:
    moment = bucket.astimezone(UTC)
    return moment - (moment - moment.replace(hour=0, minute=0, second=0, microsecond=0)) % whole


def _sum(layout: Layout, rows: Sequence[Row[Any]]) -> Counted:
    profile = Profile.merged_from_bytes(layout, [row[-len(SECTIONS) :] for row in rows])
    return Counted(sum(row.rows for row in rows), profile)


def _minutes(span: timedelta) -> int:
    return int(span.total_seconds() // 60)


def _midnight(ago: timedelta) -> datetime:
    return (clock.now().astimezone(UTC) - ago).replace(hour=0, minute=0, second=0, microsecond=0)
