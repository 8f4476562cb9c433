"""Reads that are asked for all the time: compiled once, then given to asyncpg as they are.

What SQLAlchemy does for each execution of a statement (cache keys, execution contexts, results, greenlets) costs
several times what the query itself does. Statements are still written in SQLAlchemy's language, rows still come
back through its column types. Asked of a session, a read is part of its transaction; asked of the database, it
sees what is committed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
from sqlalchemy import Float, Numeric, Select
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeEngine

from app.core.database import Database

_DIALECT = dialect()  # type: ignore[no-untyped-call]
_TROUBLE = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)


class PreparedRead:
    """A `select()` whose parameters are named by `bindparam`."""

    def __init__(self, statement: Select[Any]) -> None:
        compiled = statement.compile(dialect=_DIALECT)
        self._sql = str(compiled)
        self._parameters: Sequence[str] = compiled.positiontup or ()
        self._constants = compiled.params
        readers = ((place, _reader(column.type)) for place, column in enumerate(statement.selected_columns))
        self._readers = [(place, reader) for place, reader in readers if reader is not None]

    async def rows(self, source: AsyncSession | Database, **values: Any) -> list[list[Any]]:
        """The rows of the statement with these parameters.

        Raises:
            OperationalError: the connection broke.
        """
        named = self._constants | values
        given = [named[name] for name in self._parameters]
        try:
            records = await _fetch(source, self._sql, given)
        except _TROUBLE as error:
            raise OperationalError(self._sql, given, error) from error
        return [self._read(record) for record in records]

    def _read(self, record: asyncpg.Record) -> list[Any]:
        row = list(record)
        for place, reader in self._readers:
            row[place] = reader(row[place])
        return row


async def _fetch(source: AsyncSession | Database, sql: str, given: Sequence[Any]) -> list[asyncpg.Record]:
    if isinstance(source, Database):
        return await source.fetch(sql, *given)
    if source.autoflush:
        await source.flush()
    raw = await (await source.connection()).get_raw_connection()
    connection: Any = raw.driver_connection
    records: list[asyncpg.Record] = await connection.fetch(sql, *given)
    return records


def _reader(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    if isinstance(kind, Float | Numeric):
        return None  # asyncpg reads numbers as they are meant
    return kind.dialect_impl(_DIALECT).result_processor(_DIALECT, None)
