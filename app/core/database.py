"""The database: one engine, reading and writing sessions of different types, and the base of all tables."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NewType
from uuid import UUID

import asyncpg
from sqlalchemy import BigInteger, DateTime, Enum, MetaData, Text, Uuid, event
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import greenlet_spawn

IDLE_SECONDS = 30.0
"""A connection that lay unused for longer is asked whether it is still there: networks drop them silently."""
FROZEN_SECONDS = 20
"""Less than a job's lease: who claims a stopped process's job must not wait for the rows that it had locked."""
_LAST_STEPS = "last steps"
_READONLY = {"default_transaction_read_only": "on"}
_THAWING = {"idle_in_transaction_session_timeout": f"{FROZEN_SECONDS}s"}

Reading = NewType("Reading", AsyncSession)
"""A session that can't write: Postgres refuses it."""


class Base(DeclarativeBase):
    """The base of every table; times carry their zone, text has no length, dictionaries are JSONB."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy declares it as a plain attribute
        datetime: DateTime(timezone=True),
        str: Text,
        int: BigInteger,
        UUID: Uuid,
        dict[str, Any]: JSONB(none_as_null=True),
        list[Any]: JSONB(none_as_null=True),
        list[str]: ARRAY(Text),
        list[int]: ARRAY(BigInteger),
    }


def choice(kind: type, name: str | None = None) -> Enum:
    """The column type of a string enumeration: text that the database checks, under a name unique in its table."""
    return Enum(
        kind,
        native_enum=False,
        create_constraint=True,
        length=32,
        name=name or kind.__name__.lower(),
        values_callable=lambda members: [member.value for member in members],
    )


@dataclass(frozen=True)
class Actor:
    """Who makes a change: the name and role that its facts carry, and the request that asked for it."""

    name: str
    role: str
    request_id: str | None = None


def before_commit(session: AsyncSession, step: Callable[[AsyncSession], Awaitable[None]]) -> None:
    """Have `step` done once at the end of this transaction, however often it is asked for."""
    session.info.setdefault(_LAST_STEPS, {})[step] = None


async def take_last_steps(session: AsyncSession) -> None:
    """Do what waits for the end of the transaction."""
    for step in session.info.pop(_LAST_STEPS, ()):
        await step(session)


class Database:
    """Connections to one Postgres: those of `engine` write, those of `reading_engine` can't."""

    def __init__(
        self, url: str, *, pool_size: int = 10, max_overflow: int = 10, pool_timeout: float = 5.0
    ) -> None:
        self.url = url
        pool = {"pool_size": pool_size, "max_overflow": max_overflow, "pool_timeout": pool_timeout}
        self.engine = _engine(url, pool, **_THAWING)
        self.reading_engine = _engine(url, pool, isolation_level="AUTOCOMMIT", **_READONLY)
        in_transaction = self.reading_engine.execution_options(isolation_level="READ COMMITTED")
        self._writing = async_sessionmaker(self.engine, expire_on_commit=False)
        self._reading = async_sessionmaker(self.reading_engine, expire_on_commit=False, autoflush=False)
        self._streaming = async_sessionmaker(in_transaction, expire_on_commit=False, autoflush=False)

    @asynccontextmanager
    async def writes(self, actor: Actor) -> AsyncIterator[AsyncSession]:
        """One transaction in the name of `actor`: committed at the end, undone when anything is raised."""
        async with self._writing() as session:
            session.info["actor"] = actor
            async with session.begin():
                yield session
                await take_last_steps(session)

    @asynccontextmanager
    async def reads(self) -> AsyncIterator[Reading]:
        """A session that can only read.

        Every statement sees what is committed when it begins, as in any transaction at Postgres' default level;
        so there is none, and its two round trips are saved.
        """
        async with self._reading() as session:
            yield Reading(session)

    async def fetch(self, sql: str, *values: Any) -> list[asyncpg.Record]:
        """The rows of one statement over what is committed now, without the cost of a session around it."""
        pool = self.reading_engine.sync_engine.pool
        lent = await greenlet_spawn(pool.connect)
        try:
            connection: Any = lent.driver_connection
            rows: list[asyncpg.Record] = await connection.fetch(sql, *values)
            return rows
        finally:
            await greenlet_spawn(lent.close)

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[Reading]:
        """One transaction that can only read, for answers larger than memory: cursors live in transactions."""
        async with self._streaming() as session, session.begin():
            yield Reading(session)

    async def close(self) -> None:
        """Give every connection back."""
        await self.engine.dispose()
        await self.reading_engine.dispose()


def _engine(
    url: str, pool: dict[str, Any], isolation_level: str = "READ COMMITTED", **server_settings: str
) -> AsyncEngine:
    told = {"application_name": "switchyard", **server_settings}
    engine = create_async_engine(
        url,
        **pool,
        isolation_level=isolation_level,
        pool_use_lifo=True,  # those in use stay in use, and idle ones are few
        connect_args={"timeout": pool["pool_timeout"], "server_settings": told},
    )
    event.listen(engine.sync_engine, "checkout", _refuse_dead_connection)
    event.listen(engine.sync_engine, "checkin", _note_return)
    return engine


def _refuse_dead_connection(connection: DBAPIConnection, entry: ConnectionPoolEntry, _proxy: object) -> None:
    """Let the pool make a new connection in place of one that ended; to ask each time would cost a round trip."""
    if connection.driver_connection.is_closed():  # asyncpg learns of it when the socket closes
        raise DisconnectionError
    if time.monotonic() - entry.info.get("returned_at", time.monotonic()) > IDLE_SECONDS:
        _ask(connection)


def _ask(connection: Any) -> None:
    try:
        connection.ping()
    except Exception as error:
        raise DisconnectionError from error


def _note_return(_connection: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    entry.info["returned_at"] = time.monotonic()
