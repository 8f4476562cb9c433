"""The HTTP processes that answer traffic, as the database knows them: who lives, and which versions each holds ready.

A deployment *wants* a version; every live replica sees the want, loads and warms the version, and says so
here. What all replicas hold ready can take traffic at once.
"""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ForeignKey, and_, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.core import clock
from app.core.database import Actor, Base, Database
from app.core.ids import new_id
from app.core.jobs import CHANNEL as JOBS
from app.core.jobs import wake
from app.core.notify import Notifications, notify
from app.core.prepared import PreparedRead

WANTS = "wants"
PREPARED = "prepared"
"""The event that a replica got on with a version that it was to hold ready."""
BEAT = timedelta(seconds=2)
PRESUMED_DEAD = timedelta(seconds=10)


class Replica(Base):
    """A process that answers traffic."""

    __tablename__ = "replica"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    draining: Mapped[bool] = mapped_column(default=False)


class Preparation(Base):
    """How a replica got on with a version that it was to hold ready."""

    __tablename__ = "preparation"

    replica_id: Mapped[UUID] = mapped_column(ForeignKey("replica.id", ondelete="CASCADE"), primary_key=True)
    version_id: Mapped[UUID] = mapped_column(primary_key=True)
    ready: Mapped[bool]
    problem: Mapped[str | None]
    at: Mapped[datetime]


class Want(Base):
    """A version that every replica shall hold ready, and for whom."""

    __tablename__ = "want"

    version_id: Mapped[UUID] = mapped_column(primary_key=True)
    wanted_by: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime]


@dataclass(frozen=True)
class Lacking:
    """A live replica that does not hold a version ready; `problem` when it tried and failed."""

    replica: str
    problem: str | None


async def join(session: AsyncSession, name: str) -> UUID:
    """Enter this process among those that answer traffic."""
    replica = Replica(id=new_id(), name=name, started_at=clock.now(), seen_at=clock.now())
    session.add(replica)
    return replica.id


async def beat(session: AsyncSession, replica_id: UUID, *, draining: bool) -> bool:
    """Say that a replica lives; False when it was taken for dead meanwhile and must join again."""
    seen = update(Replica).where(Replica.id == replica_id).values(seen_at=clock.now(), draining=draining)
    return await session.scalar(seen.returning(Replica.id)) is not None


async def leave(session: AsyncSession, replica_id: UUID) -> None:
    """Take a replica that ends off the list; a deployment that waits for it waits no more."""
    await session.execute(delete(Replica).where(Replica.id == replica_id))
    await wake(session, PREPARED)


async def forget_dead_replicas(session: AsyncSession) -> None:
    """Drop replicas that were not seen for so long that they are presumed dead."""
    await session.execute(delete(Replica).where(Replica.seen_at < clock.now() - 6 * PRESUMED_DEAD))


async def want(session: AsyncSession, version_id: UUID, wanted_by: str) -> None:
    """Ask every replica to hold a version ready; those that failed to before are asked again."""
    failed = delete(Preparation).where(Preparation.version_id == version_id, Preparation.ready.is_(False))
    await session.execute(failed)
    row = insert(Want).values(version_id=version_id, wanted_by=wanted_by, since=clock.now())
    await session.execute(row.on_conflict_do_nothing())
    notify(session, WANTS)


async def want_no_more(session: AsyncSession, version_id: UUID, wanted_by: str) -> None:
    """Take a want back."""
    await session.execute(delete(Want).where(Want.version_id == version_id, Want.wanted_by == wanted_by))


async def wanted_versions(session: AsyncSession) -> set[UUID]:
    """Every version that somebody wants held ready."""
    return set(await session.scalars(select(Want.version_id).distinct()))


async def note_preparation(
    session: AsyncSession, replica_id: UUID, version_id: UUID, *, problem: str | None = None
) -> None:
    """Keep whether a replica holds a version ready, and tell who waits for it."""
    now = {"ready": problem is None, "problem": problem, "at": clock.now()}
    row = insert(Preparation).values(replica_id=replica_id, version_id=version_id, **now)
    keys = [Preparation.replica_id, Preparation.version_id]
    await session.execute(row.on_conflict_do_update(index_elements=keys, set_=now))
    await wake(session, PREPARED)


async def note_evictions(session: AsyncSession, replica_id: UUID, version_ids: Collection[UUID]) -> None:
    """Forget that a replica held some versions ready."""
    gone = delete(Preparation).where(
        Preparation.replica_id == replica_id, Preparation.version_id.in_(version_ids)
    )
    await session.execute(gone)


async def replicas_lacking(session: AsyncSession, version_id: UUID) -> list[Lacking]:
    """The live replicas that don't hold a version ready."""
    rows = await _LACKING.rows(session, version_id=version_id, live_since=live_since())
    return [Lacking(*row) for row in rows]


def live_since() -> datetime:
    """A replica that was not seen after this moment is presumed dead."""
    return clock.now() - PRESUMED_DEAD


_IS_LIVE = and_(Replica.seen_at > bindparam("live_since"), Replica.draining.is_(False))
_HOLDING = and_(Preparation.replica_id == Replica.id, Preparation.version_id == bindparam("version_id"))
LACKING = (
    select(Replica.name, Preparation.problem)
    .outerjoin(Preparation, _HOLDING)
    .where(_IS_LIVE, Preparation.ready.is_not(True))
)
"""For `version_id` and `live_since`, what `Lacking` is made of."""
_LACKING = PreparedRead(LACKING)


async def list_live_replicas(session: AsyncSession) -> Sequence[Replica]:
    """The replicas that answer traffic now."""
    query = select(Replica).where(_IS_LIVE).order_by(Replica.started_at)
    return (await session.scalars(query, {"live_since": live_since()})).all()


class Preparing:
    """Lets a request of this process wait until every live replica holds some versions ready."""

    def __init__(self, database: Database, notifications: Notifications) -> None:
        self._database = database
        self._waiting: set[asyncio.Event] = set()
        notifications.on(JOBS, self._stir)

    def _stir(self, _queue: str) -> None:
        for event in self._waiting:
            event.set()

    async def wait(self, version_ids: Collection[UUID], *, wanted_by: Actor, seconds: float) -> list[Lacking]:
        """Have versions loaded everywhere; the replicas that still lack one when patience ends."""
        stirred = asyncio.Event()
        self._waiting.add(stirred)
        name = f"request {new_id()}"
        try:
            async with self._database.writes(wanted_by) as session:
                lacking = await _lacking_any(session, version_ids)
                if lacking:
                    for version_id in version_ids:
                        await want(session, version_id, name)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while lacking and not any(each.problem for each in lacking):
                        await stirred.wait()
                        stirred.clear()
                        async with self._database.reads() as reading:
                            lacking = await _lacking_any(reading, version_ids)
        finally:
            self._waiting.discard(stirred)
        return lacking

    async def release(self, session: AsyncSession, version_ids: Collection[UUID]) -> None:
        """Forget what requests wanted: what a route names by now is held ready on its account."""
        asked = delete(Want).where(Want.version_id.in_(version_ids), Want.wanted_by.startswith("request "))
        await session.execute(asked)


async def _lacking_any(session: AsyncSession, version_ids: Collection[UUID]) -> list[Lacking]:
    return [each for version_id in version_ids for each in await replicas_lacking(session, version_id)]
