"""Durable work: a row in `job`, claimed by one worker under a lease, tried again until it is done or given up.

A claim raises the row's fence. A worker that comes back after its lease ran out holds an old fence and can
neither finish nor fail the job any more. A dedupe key keeps a second job of the same meaning from being
queued while the first is open.
"""

import asyncio
import random
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Index, and_, delete, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.core import clock
from app.core.attempts import count_attempt
from app.core.database import Actor, Base, Database, choice
from app.core.ids import new_id
from app.core.notify import notify, wait_until_told
from app.core.outage import Outage
from app.core.prepared import PreparedRead

log = structlog.get_logger()
CHANNEL = "jobs"
DEFAULT, UNHURRIED = "default", "unhurried"
"""The queues: of what somebody waits for, and of what may take its time without holding that up."""
LEASE = timedelta(seconds=30)
KEEP_DONE, KEEP_FAILED = timedelta(days=7), timedelta(days=90)
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 300.0


class JobState(StrEnum):
    """Where a job stands; the first two are open."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job(Base):
    """One piece of work."""

    __tablename__ = "job"
    __table_args__ = (
        Index(
            "uq_job_open", "dedupe_key", unique=True, postgresql_where=text("state IN ('queued', 'running')")
        ),
        Index("ix_job_waits_for", "waits_for", postgresql_where=text("state = 'queued'")),
        Index("ix_job_due", "queue", "due_at", postgresql_where=text("state IN ('queued', 'running')")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    kind: Mapped[str]
    queue: Mapped[str] = mapped_column(default=DEFAULT)
    payload: Mapped[dict[str, Any]]
    dedupe_key: Mapped[str | None]
    waits_for: Mapped[str | None]
    """An event that makes it due before its time."""
    state: Mapped[JobState] = mapped_column(choice(JobState), default=JobState.QUEUED)
    attempts: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int] = mapped_column(default=8)
    fence: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime]
    made_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    error: Mapped[str | None]


@dataclass(frozen=True)
class Claim:
    """A job in the hands of one worker, valid while its fence is the row's."""

    id: UUID
    kind: str
    payload: dict[str, Any]
    fence: int
    attempt: int
    database: Database


Handler = Callable[[Claim], Awaitable[None]]
WORKER = Actor("worker", "system")


class LeaseLost(Exception):  # noqa: N818 - an event, told from errors of the work itself
    """Another worker has this job now."""


class TryAgain(Exception):  # noqa: N818 - as above
    """The work is not finished, for a reason that somebody may ask for; it continues after a pause, which is no failure."""

    def __init__(self, seconds: float, reason: str | None = None) -> None:
        super().__init__(f"again in {seconds} s")
        self.seconds = seconds
        self.reason = reason


async def enqueue(
    session: AsyncSession,
    kind: str,
    payload: dict[str, Any],
    *,
    dedupe_key: str | None = None,
    queue: str = DEFAULT,
    delay_seconds: float = 0,
    max_attempts: int = 8,
    waits_for: str | None = None,
) -> UUID | None:
    """Add a job to this transaction; None when an open job has the same dedupe key."""
    now = clock.now()
    row = _row_of(kind, payload, dedupe_key, now) | {
        "queue": queue, "waits_for": waits_for, "max_attempts": max_attempts, "due_at": now + timedelta(seconds=delay_seconds),
    }  # fmt: skip
    added = await _ADD_UNLESS_OPEN.row(session, **row)
    if added is None:
        return None
    notify(session, CHANNEL, queue)
    job_id: UUID = added[0]
    return job_id


async def enqueue_each(session: AsyncSession, jobs: Sequence[tuple[str, dict[str, Any], str]]) -> None:
    """Add jobs of a kind, a payload and a dedupe key each in one statement; those that are open already stay alone."""
    if jobs:
        now = clock.now()
        rows = insert(Job).values([_row_of(*job, now) for job in jobs])
        await session.execute(
            rows.on_conflict_do_nothing(index_elements=[Job.dedupe_key], index_where=_IS_OPEN)
        )
        notify(session, CHANNEL, DEFAULT)


def _row_of(kind: str, payload: dict[str, Any], dedupe_key: str | None, now: datetime) -> dict[str, Any]:
    return {
        "id": new_id(), "kind": kind, "queue": DEFAULT, "payload": payload, "dedupe_key": dedupe_key, "waits_for": None,
        "max_attempts": 8, "state": JobState.QUEUED, "attempts": 0, "fence": 0, "due_at": now, "made_at": now,
    }  # fmt: skip


_IS_OPEN = text("state IN ('queued', 'running')")
_ADD_UNLESS_OPEN = PreparedRead(
    insert(Job)
    .on_conflict_do_nothing(index_elements=[Job.dedupe_key], index_where=_IS_OPEN)
    .returning(Job.__table__.c.id),
    column_keys=[column.key for column in Job.__table__.columns if column.key not in {"ended_at", "error"}],
)


async def wake(session: AsyncSession, event: str) -> None:
    """Make the jobs that wait for an event due now."""
    waiting = update(Job).where(Job.waits_for == event, Job.state == JobState.QUEUED)
    await session.execute(waiting.values(due_at=clock.now()))
    notify(session, CHANNEL)


async def claim_job(database: Database, queues: Sequence[str], kinds: Sequence[str]) -> Claim | None:
    """Take the job that is due first, or whose worker let its lease run out; None when there is none."""
    async with database.writes(WORKER) as session:
        due = (
            select(Job.id)
            .where(Job.queue.in_(queues), Job.kind.in_(kinds), Job.due_at <= clock.now())
            .where(Job.state.in_([JobState.QUEUED, JobState.RUNNING]))
            .order_by(Job.due_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        taken = (
            update(Job)
            .where(Job.id == due.scalar_subquery())
            .values(
                state=JobState.RUNNING,
                fence=Job.fence + 1,
                attempts=Job.attempts + 1,
                due_at=clock.now() + LEASE,
            )
            .returning(Job.id, Job.kind, Job.payload, Job.fence, Job.attempts)
        )
        row = (await session.execute(taken)).one_or_none()
    return Claim(row[0], row[1], row[2], row[3], row[4], database) if row else None


async def _settle(claim: Claim, **values: Any) -> None:
    """Write a claim's end, unless somebody else holds the job by now."""
    async with claim.database.writes(WORKER) as session:
        mine = update(Job).where(Job.id == claim.id, Job.fence == claim.fence, Job.state == JobState.RUNNING)
        if await session.scalar(mine.values(**values).returning(Job.id)) is None:
            raise LeaseLost(claim.kind, str(claim.id))


async def keep_lease(claim: Claim) -> None:
    """Prolong the lease for as long as the work runs."""
    while True:
        await asyncio.sleep(LEASE.total_seconds() / 3)
        await _settle(claim, due_at=clock.now() + LEASE)


def retry_seconds(attempt: int) -> float:
    """The pause before the next attempt: doubling, capped, with jitter so that failures don't march in step."""
    longest: float = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** (attempt - 1))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreading load, not keeping a secret


async def run_claim(claim: Claim, handler: Handler) -> None:
    """Do one claimed job to its end, whatever that is, and count it."""
    began = time.perf_counter()
    try:
        result = await _try_once(claim, handler)
    except LeaseLost:
        log.warning("job_lease_lost", kind=claim.kind, job_id=str(claim.id))
        result = "lost"
    count_attempt(claim.kind, result, time.perf_counter() - began)


async def _try_once(claim: Claim, handler: Handler) -> str:
    """How an attempt ended: done, paused, to be retried, or failed for good."""
    try:
        await _work_under_lease(claim, handler)
        await _settle(claim, state=JobState.DONE, ended_at=clock.now(), error=None)
    except TryAgain as pause:
        again = clock.now() + timedelta(seconds=pause.seconds)
        values = {"attempts": claim.attempt - 1, "error": pause.reason}
        await _settle(claim, state=JobState.QUEUED, due_at=again, **values)
        return "paused"
    except LeaseLost:
        raise
    except Exception as error:
        log.exception("job_failed", kind=claim.kind, job_id=str(claim.id), attempt=claim.attempt)
        return await _fail(claim, error)
    return "done"


async def _work_under_lease(claim: Claim, handler: Handler) -> None:
    """Work for as long as the lease is prolonged; whoever finds it lost stops where it is."""
    work, lease = asyncio.ensure_future(handler(claim)), asyncio.create_task(keep_lease(claim))
    try:
        await asyncio.wait([work, lease], return_when=asyncio.FIRST_COMPLETED)
        await (work if work.done() else lease)
    finally:
        for task in (work, lease):
            task.cancel()
        await asyncio.gather(work, lease, return_exceptions=True)


async def _fail(claim: Claim, error: Exception) -> str:
    reason = "".join(traceback.format_exception_only(error)).strip()[:4000]
    async with claim.database.reads() as session:
        last = await session.scalar(select(Job.max_attempts).where(Job.id == claim.id))
    if last is not None and claim.attempt >= last:
        await _settle(claim, state=JobState.FAILED, ended_at=clock.now(), error=reason)
        return JobState.FAILED
    due = clock.now() + timedelta(seconds=retry_seconds(claim.attempt))
    await _settle(claim, state=JobState.QUEUED, due_at=due, error=reason)
    return "retried"


async def work_on(
    database: Database,
    handlers: Mapping[str, Handler],
    *,
    woken: asyncio.Event,
    queues: Sequence[str] = (DEFAULT,),
    idle_seconds: float = 1.0,
    outage: Outage | None = None,
) -> None:
    """Claim and do jobs until cancelled; `woken` cuts the wait short when a job was queued, and `outage` ends with a claim."""
    while True:
        woken.clear()
        claim = await claim_job(database, queues, list(handlers))
        if outage is not None:
            outage.is_over()
        if claim is not None:
            await run_claim(claim, handlers[claim.kind])
        else:
            await wait_until_told(woken, idle_seconds)


async def drop_old_jobs(session: AsyncSession) -> None:
    """Forget jobs that ended well a week ago, and those that were given up or cancelled ninety days ago."""
    now = clock.now()
    done = and_(Job.state == JobState.DONE, Job.ended_at < now - KEEP_DONE)
    given_up = and_(Job.state.in_([JobState.FAILED, JobState.CANCELLED]), Job.ended_at < now - KEEP_FAILED)
    await session.execute(delete(Job).where(or_(done, given_up)))


async def find_latest_job(session: AsyncSession, dedupe_key: str) -> Job | None:
    """The job that was asked for last with this key, open or not, if it is still remembered."""
    asked = select(Job).where(Job.dedupe_key == dedupe_key).order_by(Job.made_at.desc())
    return (await session.scalars(asked.limit(1))).first()
