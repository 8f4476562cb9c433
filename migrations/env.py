"""How Alembic reaches the database: a connection that the service hands in, or ML_DATABASE_URL."""

import asyncio

from alembic import context
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.core.config import Settings
from app.tables import Base


def belongs_to_us(name: str | None, kind: str, _parents: object) -> bool:
    """Partitions of the prediction log are made by the log itself, day by day."""
    return not (kind == "table" and name is not None and name.startswith(("prediction_", "outcome_")))


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_server_default=True,
        include_name=belongs_to_us,
    )
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_run() -> None:
    url = Settings().sqlalchemy_url
    if url is None:
        raise SystemExit(
            "set ML_DATABASE_URL to the database to migrate (the embedded one is migrated at start)"
        )
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


handed_in: Connection | None = context.config.attributes.get("connection")
if handed_in is not None:
    run(handed_in)
else:
    asyncio.run(connect_and_run())
