"""What the health report asks the database."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.facts import FactRow
from app.core.jobs import Job, JobState
from app.core.locks import lock_number

LEADERSHIP = "clock"
OVERDUE = timedelta(seconds=60)
RECENT = timedelta(hours=1)

_LEADER = text("""
    SELECT coalesce(host(activity.client_addr), 'this machine') AS address, activity.backend_start AS since
    FROM pg_locks JOIN pg_stat_activity AS activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND ((classid::bigint << 32) | objid::bigint) = :number
""")  # a lock with a 64-bit number: its halves are classid and objid (PostgreSQL manual, 53.12 "pg_locks")


@dataclass(frozen=True)
class JobCounts:
    """Jobs by how they fare.

    Attributes:
        queued: waiting, most of them for their time.
        overdue: should have been taken by a worker a minute ago.
        running: in the hands of a worker.
        failed: given up within the last hour.
    """

    queued: int
    overdue: int
    running: int
    failed: int


async def count_jobs(session: AsyncSession) -> JobCounts:
    """How many jobs wait, run and failed."""
    now = clock.now()
    waiting = Job.state == JobState.QUEUED
    row = await session.execute(
        select(
            func.count().filter(waiting),
            func.count().filter(waiting, Job.due_at < now - OVERDUE),
            func.count().filter(Job.state == JobState.RUNNING),
            func.count().filter(Job.state == JobState.FAILED, Job.ended_at > now - RECENT),
        )
    )
    queued, overdue, running, failed = row.one()
    return JobCounts(queued, overdue, running, failed)


@dataclass(frozen=True)
class Leader:
    """The worker that keeps time."""

    address: str
    since: datetime


async def find_leader(session: AsyncSession) -> Leader | None:
    """The worker that leads, as the lock it holds shows it."""
    row = (await session.execute(_LEADER, {"number": lock_number(LEADERSHIP)})).first()
    return Leader(row.address, row.since) if row else None


async def unsealed_seconds(session: AsyncSession) -> float:
    """How long the oldest fact has waited to be sealed."""
    oldest = await session.scalar(select(func.min(FactRow.at)).where(FactRow.sequence.is_(None)))
    return max((clock.now() - oldest).total_seconds(), 0.0) if oldest else 0.0
