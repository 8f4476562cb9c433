"""What the watches over versions have in common: whom a job looks at, whether it is time, and whose turn it is."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.jobs import Claim, enqueue
from app.evidence.outcome_windows import Cohort
from app.monitoring.queries import Watching
from app.monitoring.tables import EstimateWatch, PerformanceWatch, Watch

LATELY = timedelta(minutes=30)
"""Who was busy since then is looked at."""
AnyWatch = TypeVar("AnyWatch", Watch, PerformanceWatch, EstimateWatch)


async def have_watched(session: AsyncSession, kind: str, whom: Iterable[tuple[UUID, str]]) -> None:
    """Have versions looked at in their environments, each by one job at a time."""
    for version_id, environment in whom:
        whose = {"version_id": str(version_id), "environment": environment}
        await enqueue(session, kind, whose, dedupe_key=f"{kind} {version_id} {environment}")


def cohort_of(claim: Claim) -> Cohort:
    """Whom a job of `have_watched` looks at."""
    return Cohort(UUID(claim.payload["version_id"]), claim.payload["environment"])


def is_time(watching: Watching, watch: Watch | PerformanceWatch | EstimateWatch | None) -> bool:
    """Whether a version is watched, and the last look is as long ago as its model's interval."""
    pause = timedelta(minutes=watching.interval_minutes)
    return watching.enabled and (watch is None or clock.now() - watch.looked_at >= pause)


async def lock_watch(session: AsyncSession, table: type[AnyWatch], cohort: Cohort, **first: Any) -> AnyWatch:
    """How far a watch has come, for this transaction alone to change; begun where it hasn't."""
    key = {"version_id": cohort.version_id, "environment": cohort.environment}
    added = insert(table).values(**key, looked_at=clock.now(), **first)
    await session.execute(added.on_conflict_do_nothing())
    return (await session.scalars(select(table).filter_by(**key).with_for_update())).one()
