"""Locks that live in Postgres, so that they hold over all replicas and end with their holder."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import BigInteger, bindparam, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from app.core.prepared import PreparedRead

LEADER_CHECK_SECONDS = 5.0
FROZEN_SECONDS = 15
"""A leader that says nothing for three checks is stopped or cut off: Postgres ends its session, and with it the lead."""


def lock_number(name: str) -> int:
    """The signed 64-bit number under which Postgres knows an advisory lock's name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)


async def hold_until_commit(session: AsyncSession, name: str) -> None:
    """Wait for a lock that this transaction then holds to its end."""
    await session.execute(select(func.pg_advisory_xact_lock(lock_number(name))))


async def share_until_commit(session: AsyncSession, name: str) -> None:
    """Keep everybody from holding a lock alone until this transaction ends; waits for who does."""
    await _SHARE.rows(session, number=lock_number(name))


async def try_hold_until_commit(session: AsyncSession, name: str) -> bool:
    """Take a lock to the end of this transaction, unless somebody has it."""
    [[is_taken]] = await _TRY.rows(session, number=lock_number(name))
    return bool(is_taken)


_NUMBER = bindparam("number", type_=BigInteger)
_TRY = PreparedRead(select(func.pg_try_advisory_xact_lock(_NUMBER)))
_SHARE = PreparedRead(select(func.pg_advisory_xact_lock_shared(_NUMBER)))


@asynccontextmanager
async def leadership(engine: AsyncEngine, name: str) -> AsyncIterator[asyncio.Event]:
    """Wait until this process leads in `name`; the event is set once the lock, and so the lead, is lost."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(f"SET idle_session_timeout = '{FROZEN_SECONDS}s'"))
        await _wait_for(connection, name)
        lost = asyncio.Event()
        watch = asyncio.create_task(_watch(connection, lost))
        try:
            yield lost
        finally:
            watch.cancel()
            await connection.invalidate()


async def _wait_for(connection: AsyncConnection, name: str) -> None:
    """Poll for the lock: a statement that waits in Postgres could not be told to stop."""
    take = select(func.pg_try_advisory_lock(lock_number(name)))
    while not await connection.scalar(take):  # noqa: ASYNC110 - the other holder is another process
        await asyncio.sleep(LEADER_CHECK_SECONDS)


async def _watch(connection: AsyncConnection, lost: asyncio.Event) -> None:
    try:
        while True:
            await asyncio.sleep(LEADER_CHECK_SECONDS)
            await connection.scalar(select(1))
    except (DBAPIError, OSError):
        lost.set()
