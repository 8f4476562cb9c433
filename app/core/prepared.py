"""Statements that are run all the time: compiled once, then given to asyncpg as they are.

What SQLAlchemy does for each execution of a statement (cache keys, execution contexts, results, greenlets) costs
several times what the query itself does. Statements are still written in SQLAlchemy's language, values and rows
still go through its column types. Asked of a session, a statement is part of its transaction; asked of the
database, a read sees what is committed.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Float, Insert, Numeric, Select, Update, func, insert, select
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi, dialect
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from app.core.database import Base, Database

_DIALECT = dialect()  # type: ignore[no-untyped-call]
_REFUSED = AsyncAdapt_asyncpg_dbapi.Error  # what SQLAlchemy's pool raises when no connection can be made
_TROUBLE = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError, _REFUSED)
_DRIVER = "driver"

_Readers = list[tuple[int, Callable[[Any], Any]]]
Result = TypeVar("Result")


class _Prepared:
    """A compiled statement whose parameters are named by `bindparam`."""

    def __init__(self, statement: Executable, **options: Any) -> None:
        compiled = statement.compile(dialect=_DIALECT, **options)  # type: ignore[attr-defined]
        self._sql = str(compiled)
        self._parameters: Sequence[str] = compiled.positiontup or ()
        self._constants = compiled.params
        self._writers = _writers(compiled)

    def _given(self, values: dict[str, Any]) -> list[Any]:
        named = self._constants | values
        given = [named[name] for name in self._parameters]
        for place, write in self._writers:
            given[place] = write(given[place])
        return given

    async def _fetch(self, source: AsyncSession | Database, values: dict[str, Any]) -> list[asyncpg.Record]:
        given = self._given(values)
        records: list[asyncpg.Record] = (
            await _told(self._sql, source.fetch(self._sql, *given))
            if isinstance(source, Database)
            else await _run(source, self._sql, lambda driver: driver.fetch(self._sql, *given))
        )
        return records


class PreparedRead(_Prepared):
    """A `select()`, or a change that returns rows."""

    def __init__(self, statement: Select[*tuple[Any, ...]] | Insert | Update, **options: Any) -> None:
        super().__init__(statement, **options)
        self._readers = _readers(statement)

    async def rows(self, source: AsyncSession | Database, **values: Any) -> list[list[Any]]:
        """The rows of the statement with these parameters.

        Raises:
            OperationalError: the connection broke.
        """
        return [_read(record, self._readers) for record in await self._fetch(source, values)]

    async def row(self, source: AsyncSession | Database, **values: Any) -> list[Any] | None:
        """The first of the rows."""
        records = await self._fetch(source, values)
        return _read(records[0], self._readers) if records else None


class PreparedTogether(_Prepared):
    """Several `select()`s, with what changes they bring as CTEs, in one statement: they see one moment.

    A round trip costs more than most of them. Parameters of one name are one.
    """

    def __init__(self, *queries: Select[*tuple[Any, ...]]) -> None:
        super().__init__(select(*(func.array(_select_rows(query)) for query in queries)))
        self._readers = [_readers(query) for query in queries]

    async def rows(self, session: AsyncSession, **values: Any) -> list[list[list[Any]]]:
        """The rows of each query with these parameters.

        Raises:
            OperationalError: the connection broke.
        """
        [found] = await self._fetch(session, values)
        return [
            [_read(record, readers) for record in records]
            for records, readers in zip(found, self._readers, strict=True)
        ]


class PreparedWrite(_Prepared):
    """A change that returns nothing."""

    async def run(self, session: AsyncSession, *rows: dict[str, Any]) -> None:
        """Make the change with these parameters; several sets of them travel together."""
        given = [self._given(row) for row in rows]
        await _run(session, self._sql, lambda driver: driver.executemany(self._sql, given))


class PreparedInsert(PreparedWrite):
    """Rows of a table that the session need not know, with every column but those that the database numbers.

    What is not given is null: defaults, of the database or of the class, are not applied.
    """

    def __init__(self, entity: type[Base]) -> None:
        columns = entity.__table__.columns
        self._names = [column.key for column in columns if column.identity is None]
        super().__init__(insert(entity), column_keys=self._names)
        self._constants = dict.fromkeys(self._names)

    async def add(self, session: AsyncSession, row: Base) -> None:
        """Store an object that no session has."""
        await self.run(session, {name: getattr(row, name) for name in self._names})


async def _run(session: AsyncSession, sql: str, work: Callable[[Any], Any]) -> Any:
    """Let the driver of a session's connection do something, after what the session still has to write."""
    if session.autoflush and (session.new or session.dirty or session.deleted):
        await session.flush()
    driver = session.info.get(_DRIVER) or await _told(sql, _driver_of(session))
    return await _told(sql, work(driver))


async def _told(sql: str, work: Awaitable[Any]) -> Any:
    """What came of a statement, its errors told as SQLAlchemy would."""
    try:
        return await work
    except _TROUBLE as error:
        raise OperationalError(sql, None, error) from error
    except asyncpg.IntegrityConstraintViolationError as error:
        raise IntegrityError(sql, None, error) from error
    except asyncpg.PostgresError as error:
        raise DBAPIError(sql, None, error) from error


async def _driver_of(session: AsyncSession) -> Any:
    """The connection that a session keeps to its end, in its transaction; to find it takes longer than a statement."""
    raw = await (await session.connection()).get_raw_connection()
    adapted: Any = raw.dbapi_connection
    if adapted._transaction is None:  # SQLAlchemy says BEGIN before its own first statement only
        await adapted._start_transaction()  # which does nothing where every statement commits by itself
    session.info[_DRIVER] = raw.driver_connection
    return raw.driver_connection


def _select_rows(query: Select[*tuple[Any, ...]]) -> Any:
    """A query's rows as values, of which an array can be made."""
    return select(query.subquery().table_valued()).scalar_subquery()


def _read(record: asyncpg.Record, readers: _Readers) -> list[Any]:
    row = list(record)
    for place, reader in readers:
        row[place] = reader(row[place])
    return row


def _readers(statement: Select[*tuple[Any, ...]] | Insert | Update) -> _Readers:
    readers = ((place, _reader(column.type)) for place, column in enumerate(statement.exported_columns))
    return [(place, reader) for place, reader in readers if reader is not None]


def _writers(compiled: SQLCompiler) -> list[tuple[int, Callable[[Any], Any]]]:
    names = enumerate(compiled.positiontup or ())
    found = ((place, _writer(compiled.binds[name].type)) for place, name in names)
    return [(place, writer) for place, writer in found if writer is not None]


def _writer(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    return kind.dialect_impl(_DIALECT).bind_processor(_DIALECT)


def _reader(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    if isinstance(kind, Float | Numeric):
        return None  # asyncpg reads numbers as they are meant
    return kind.dialect_impl(_DIALECT).result_processor(_DIALECT, None)
