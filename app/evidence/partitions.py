"""The days of the prediction log and of its outcomes: one partition each, made ahead, dropped when it is too old.

A partition is made as a table of its own and then attached, which keeps nobody from reading or writing the others
(PostgreSQL manual, 5.12.2.2 "Partition Maintenance").
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.locks import hold_until_commit
from app.evidence.tables import OutcomeRow, PredictionRow

PARENTS = (PredictionRow.__tablename__, OutcomeRow.__tablename__)
_LOCK = "prediction partitions"


async def ensure_partitions(session: AsyncSession, days: Iterable[date]) -> None:
    """Make the partitions of some days that are not there yet."""
    wanted = {(parent, day) for parent in PARENTS for day in days}
    if wanted.difference(await list_partitions(session)):
        await hold_until_commit(session, _LOCK)
        for parent, day in sorted(wanted.difference(await list_partitions(session))):
            await _attach(session, parent, day)


async def _attach(session: AsyncSession, parent: str, day: date) -> None:
    """Names and bounds are made here from a date, so there is nothing in them to escape."""
    name, start, end = f"{parent}_{day:%Y%m%d}", _midnight(day), _midnight(day + timedelta(days=1))
    await session.execute(
        text(f"CREATE TABLE {name} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    )
    await session.execute(
        text(f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ('{start}') TO ('{end}')")
    )


def _midnight(day: date) -> str:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).isoformat()


async def list_partitions(session: AsyncSession) -> list[tuple[str, date]]:
    """The parents and days of the partitions that are there."""
    rows = await session.execute(
        text(
            "SELECT parent.relname, right(child.relname, 8) FROM pg_inherits"
            " JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent"
            " WHERE inhparent IN ('prediction'::regclass, 'outcome'::regclass) ORDER BY child.relname"
        )
    )
    return [(parent, datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date()) for parent, day in rows]


async def drop_old_partitions(session: AsyncSession, *, before: date) -> list[date]:
    """Delete every prediction and outcome of the days before a day; the answer is these days."""
    await hold_until_commit(session, _LOCK)
    old = [(parent, day) for parent, day in await list_partitions(session) if day < before]
    await session.execute(
        text("SET LOCAL lock_timeout = '5s'")
    )  # readers queue behind whoever waits for a lock
    for parent, day in old:
        await session.execute(text(f"DROP TABLE {parent}_{day:%Y%m%d}"))
    return sorted({day for _, day in old})
