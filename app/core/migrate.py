"""Bringing the database to this code's schema, under a lock, so that replicas that start together don't race."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, make_url, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from app.core.locks import lock_number
from app.core.processes import StartFailed

ROOT = Path(__file__).resolve().parents[2]
OLDEST_POSTGRES = 14


class DatabaseNewer(StartFailed):
    """The database was migrated by a newer Switchyard than this one."""


class DatabaseUnreachable(StartFailed):
    """Nobody answers at the database's address, or not to us."""


class PostgresTooOld(StartFailed):
    """The server is older than the oldest Postgres that Switchyard runs on."""


def alembic_config() -> Config:
    """Alembic's configuration, found beside the code rather than in the current directory."""
    config = Config(str(ROOT / "alembic.ini"))
    config.set_main_option("script_location", str(ROOT / "migrations"))
    return config


async def migrate(url: str) -> None:
    """Apply the migrations that a database lacks.

    Raises:
        DatabaseNewer: it has one that this code does not know.
        DatabaseUnreachable: there is no way to it.
        PostgresTooOld: the server is older than Postgres 14.
    """
    async with _transaction(url) as connection:
        await connection.execute(select(func.pg_advisory_xact_lock(lock_number("migrate"))))
        await connection.run_sync(_upgrade)


@asynccontextmanager
async def _transaction(url: str) -> AsyncIterator[AsyncConnection]:
    async with AsyncExitStack() as stack:
        engine = create_async_engine(url, poolclass=NullPool, connect_args={"timeout": 10})
        stack.push_async_callback(engine.dispose)
        try:
            connection = await stack.enter_async_context(engine.begin())
        except (DBAPIError, OSError, TimeoutError) as error:
            reason = str(getattr(error, "orig", error)) or "no answer within 10 seconds"
            address = make_url(url).set(drivername="postgresql")
            raise DatabaseUnreachable(f"can't connect to {address} (ML_DATABASE_URL): {reason}") from error
        yield connection


def _upgrade(connection: Connection) -> None:
    _refuse_old_server(connection)
    config = alembic_config()
    script = ScriptDirectory.from_config(config)
    present = MigrationContext.configure(connection).get_current_heads()
    known = {revision.revision for revision in script.walk_revisions()}
    strange = [revision for revision in present if revision not in known]
    if strange:
        raise DatabaseNewer(
            f"the database is at revision {', '.join(strange)}, which this version does not know: it was migrated by a "
            "newer Switchyard. Start that version, or restore the backup taken before the upgrade."
        )
    if set(present) != set(script.get_heads()):
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _refuse_old_server(connection: Connection) -> None:
    number = int(connection.scalar(text("SELECT current_setting('server_version_num')")) or 0)
    if number < OLDEST_POSTGRES * 10_000:
        raise PostgresTooOld(
            f"Postgres {OLDEST_POSTGRES} or newer is needed; this server is {number // 10_000}"
        )
