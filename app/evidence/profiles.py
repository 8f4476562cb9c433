"""The batches of the log as profiles: counted in the transaction that brings the rows, so that neither is without the other."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from uuid import UUID

import numpy as np
import structlog
from numpy.typing import NDArray
from prometheus_client import Counter
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.jobs import enqueue
from app.core.locks import share_until_commit
from app.core.processes import give_way
from app.evidence.copying import group_alike, times_in
from app.evidence.frames import LoggedRequest, table_of
from app.evidence.tables import SECTIONS, LiveProfile, ProfilePlan
from app.runtimes.profiles import Answered, Plan, columns_of
from app.runtimes.schema import ColumnType
from app.stats.profile import Profile

log = structlog.get_logger()

UNCOUNTED = Counter("log_rows_not_profiled_total", "Rows of the log that no profile could count.")
BUCKET_MINUTES = 5
BUCKET = timedelta(minutes=BUCKET_MINUTES)
PLAN_PROFILE = "plan_profile"
_BUCKET_MS = int(BUCKET.total_seconds() * 1000)
_MOST_PLANS = 256
REQUESTS_PER_TURN = 1000


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Which live profile rows belong to."""

    version_id: UUID
    bucket: datetime
    environment: str
    arm: str
    shadow: bool


@dataclass(frozen=True, slots=True)
class Counted:
    """Some rows and their profile."""

    rows: int
    profile: Profile

    def __add__(self, other: "Counted") -> "Counted":
        return Counted(self.rows + other.rows, self.profile + other.profile)


def plan_lock(version_id: UUID) -> str:
    """Whoever makes the plan of a version holds it alone; whoever ships rows that nobody counts yet shares it."""
    return f"profile plan {version_id}"


class Plans:
    """The plans in memory. Once made, a plan stays; until then every batch looks for it again."""

    def __init__(self) -> None:
        self._known: dict[UUID, Plan] = {}

    async def of(self, session: AsyncSession, version_ids: Iterable[UUID]) -> dict[UUID, Plan]:
        """The plans of some versions; for one without, a job is asked to make it.

        The lock makes sure that rows of a version without a plan are in the log before its plan is: whoever makes it
        counts them afterwards.
        """
        wanted = sorted(set(version_ids))
        for version_id in wanted:
            if version_id not in self._known:
                await self._look_for(session, version_id)
        return {version_id: self._known[version_id] for version_id in wanted if version_id in self._known}

    async def _look_for(self, session: AsyncSession, version_id: UUID) -> None:
        await share_until_commit(session, plan_lock(version_id))
        columns = await session.scalar(
            select(ProfilePlan.columns).where(ProfilePlan.version_id == version_id)
        )
        if columns is None:
            await ask_for_plan(session, version_id)
            return
        if len(self._known) >= _MOST_PLANS:
            self._known.clear()
        self._known[version_id] = Plan.from_json(columns)


async def ask_for_plan(session: AsyncSession, version_id: UUID) -> None:
    """Have the plan of a version made, unless that is under way."""
    await enqueue(
        session,
        PLAN_PROFILE,
        {"version_id": str(version_id)},
        dedupe_key=plan_job(version_id),
    )


def plan_job(version_id: UUID) -> str:
    """The dedupe key of the job that makes the plan of a version."""
    return f"{PLAN_PROFILE} {version_id}"


async def count_into_profiles(
    session: AsyncSession, plans: Plans, requests: Sequence[LoggedRequest], spool: str
) -> None:
    """Add the rows of some requests to the live profiles of their versions."""
    known = await plans.of(session, {request.origin.version_id for request in requests})
    counted: dict[Place, Counted] = {}
    for block in in_turns(requests):
        plan = known.get(block[0].origin.version_id)
        for place, more in _count_block(plan, block).items() if plan else ():
            counted[place] = counted[place] + more if place in counted else more
    for place in sorted(counted):  # in one order, so that no two transactions wait for each other
        await add_to_profile(session, place, spool, counted[place])


def _count_block(plan: Plan, block: Sequence[LoggedRequest]) -> dict[Place, Counted]:
    """The profiles of a block; none where its values are not what the plan is for, which must not keep them from the log."""
    try:
        return {
            place: Counted(len(rows.predictions or ()), plan.profile(rows)) for place, rows in _places(block)
        }
    except (ValueError, TypeError, OverflowError):
        UNCOUNTED.inc(sum(request.scored_rows for request in block))
        log.exception("rows_not_profiled", version_id=str(block[0].origin.version_id))
        return {}


def _places(block: Sequence[LoggedRequest]) -> Iterator[tuple[Place, Answered]]:
    """The scored rows of a block, apart by bucket."""
    if not any(request.scored_rows for request in block):
        return
    rows, origin = _answered(block), block[0].origin
    for bucket, here in by_bucket(block):
        place = Place(origin.version_id, bucket, origin.environment, origin.arm or "", origin.shadow)
        yield place, rows if len(here) == rows.count else rows.at(here)


def in_turns(requests: Iterable[LoggedRequest]) -> Iterator[Sequence[LoggedRequest]]:
    """Requests of one origin and shape together, no more of them than may be counted before others have their turn."""
    for block in group_alike(requests):
        for start in range(0, len(block), REQUESTS_PER_TURN):
            give_way()
            yield block[start : start + REQUESTS_PER_TURN]


def by_bucket(block: Sequence[LoggedRequest]) -> Iterator[tuple[datetime, NDArray[np.intp]]]:
    """Which of the scored rows of a block are of which five minutes, by their places among them."""
    buckets = times_in(b"".join([request.id_bytes for request in block])) // _BUCKET_MS
    for number in np.unique(buckets).tolist():
        yield datetime.fromtimestamp(number * _BUCKET_MS / 1000, UTC), np.flatnonzero(buckets == number)


def _answered(block: Sequence[LoggedRequest]) -> Answered:
    first = block[0]
    is_matrix = first.values is None
    matrix = table_of(b"".join([request.cells for request in block]), first.columns) if is_matrix else None
    values = [row for request in block for row in request.values or ()]
    odds = table_of(b"".join([request.odds for request in block]), first.classes) if first.classes else None
    return Answered(
        columns_of(matrix, values, [*map(ColumnType, first.origin.column_types)]),
        list(chain.from_iterable(request.predictions for request in block)),
        None if odds is None else odds.max(axis=1),
        np.repeat([request.latency_ms for request in block], [request.scored_rows for request in block]),
    )


async def add_to_profile(
    session: AsyncSession, place: Place, spool: str, more: Counted, *, minutes: int = BUCKET_MINUTES
) -> None:
    """Add to what is stored for a place; nobody else adds to this spool's share of it meanwhile."""
    layout = more.profile.layout
    key = {name: getattr(place, name) for name in Place.__slots__} | {"spool": spool}
    nothing = dict(zip(SECTIONS, Profile.empty(layout).to_bytes(), strict=True))
    first = insert(LiveProfile).values(**key, minutes=minutes, rows=0, **nothing)
    await session.execute(first.on_conflict_do_nothing())
    stored = await session.get_one(LiveProfile, tuple(key.values()), with_for_update=True)
    known = Profile.from_bytes(layout, *stored.sections)
    stored.sections = (known + more.profile).to_bytes()
    stored.rows += more.rows
