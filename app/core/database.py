"""The database: one engine, reading and writing sessions of different types, and the base of all tables."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NewType
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Enum, MetaData, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

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


class Database:
    """Connections to one Postgres."""

    def __init__(
        self, url: str, *, pool_size: int = 10, max_overflow: int = 10, pool_timeout: float = 5.0
    ) -> None:
        self.url = url
        self.engine: AsyncEngine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_timeout=pool_timeout,
            pool_pre_ping=True,
            connect_args={"timeout": pool_timeout, "server_settings": {"application_name": "switchyard"}},
        )
        readonly = self.engine.execution_options(postgresql_readonly=True)
        self._writing = async_sessionmaker(self.engine, expire_on_commit=False)
        self._reading = async_sessionmaker(readonly, expire_on_commit=False, autoflush=False)

    @asynccontextmanager
    async def writes(self, actor: Actor) -> AsyncIterator[AsyncSession]:
        """One transaction in the name of `actor`: committed at the end, undone when anything is raised."""
        async with self._writing() as session:
            session.info["actor"] = actor
            async with session.begin():
                yield session

    @asynccontextmanager
    async def reads(self) -> AsyncIterator[Reading]:
        """One transaction that can only read."""
        async with self._reading() as session, session.begin():
            yield Reading(session)

    async def close(self) -> None:
        """Give every connection back."""
        await self.engine.dispose()
