"""What each hour of the week looked like: in a reference whose rows have times, and in the stream of a version."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.evidence.profiles import Counted
from app.evidence.tables import SECTIONS, HourProfile
from app.stats.profile import Layout, Profile
from app.stats.seasons import Seasons, by_hour

REFERENCE = ""
"""Where the hours of the reference itself are kept, beside those of each environment's stream."""


async def add_to_week(
    session: AsyncSession, version_id: UUID, environment: str, hours: Mapping[int, Counted]
) -> None:
    """Add rows to what is known of some hours of the week."""
    for hour, more in sorted(hours.items()):
        layout = more.profile.layout
        key = {"version_id": version_id, "environment": environment, "hour": hour}
        nothing = dict(zip(SECTIONS, Profile.empty(layout).to_bytes(), strict=True))
        first = insert(HourProfile).values(**key, rows=0, **nothing)
        await session.execute(first.on_conflict_do_nothing())
        stored = await session.get_one(HourProfile, tuple(key.values()), with_for_update=True)
        known = Profile.from_bytes(layout, *stored.sections)
        stored.sections = (known + more.profile).to_bytes()
        stored.rows += more.rows


async def find_week(
    session: AsyncSession, layout: Layout, version_id: UUID, environment: str = REFERENCE
) -> Seasons | None:
    """What was seen by the hour of the week; None where nothing was kept."""
    query = select(HourProfile).where(
        HourProfile.version_id == version_id, HourProfile.environment == environment
    )
    cells = query.with_only_columns(HourProfile.hour, *HourProfile.cells())
    rows = (await session.execute(cells)).all()
    return by_hour((row[0], Profile.from_bytes(layout, *row[1:])) for row in rows) if rows else None
