"""Reads that are asked for all the time: compiled once, then given to asyncpg as they are.

What SQLAlchemy does for each execution of a statement (cache keys, execution contexts, results, greenlets) costs
several times what the query itself does. Statements are still written in SQLAlchemy's language, rows still come
back through its column types, and the connection is the session's, transaction included.
"""

from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
from sqlalchemy import Float, Numeric, Select
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeEngine

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

    async def rows(self, session: AsyncSession, **values: Any) -> list[list[Any]]:
        """The rows of the statement with these parameters, in the session's transaction.

        Raises:
            OperationalError: the connection broke.
        """
        if session.autoflush:
            await session.flush()
        raw = await (await session.connection()).get_raw_connection()
        connection: Any = raw.driver_connection
        named = self._constants | values
        given = [named[name] for name in self._parameters]
        try:
            records = await connection.fetch(self._sql, *given)
        except _TROUBLE as error:
            raise OperationalError(self._sql, given, error) from error
        return [self._read(record) for record in records]

    def _read(self, record: asyncpg.Record) -> list[Any]:
        row = list(record)
        for place, reader in self._readers:
            row[place] = reader(row[place])
        return row


def _reader(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    if isinstance(kind, Float | Numeric):
        return None  # asyncpg reads numbers as they are meant
    return kind.dialect_impl(_DIALECT).result_processor(_DIALECT, None)
