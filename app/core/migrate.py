"""Bringing the database to this code's schema, under a lock, so that replicas that start together don't race."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.core.locks import lock_number
from app.core.processes import StartFailed

ROOT = Path(__file__).resolve().parents[2]
OLDEST_POSTGRES = 14


class DatabaseNewer(StartFailed):
    """The database was migrated by a newer Switchyard than this one."""


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
        PostgresTooOld: the server is older than Postgres 14.
    """
    engine = create_async_engine(url, poolclass=NullPool, connect_args={"timeout": 10})
    try:
        async with engine.begin() as connection:
            await connection.execute(select(func.pg_advisory_xact_lock(lock_number("migrate"))))
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


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
