"""Migrations lead from nothing to exactly the tables that the code declares, and back."""

import asyncio

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.core.migrate import DatabaseNewer, alembic_config, migrate
from app.tables import Base


async def run_in(url, work):
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        result = await connection.run_sync(work)
    await engine.dispose()
    return result


async def test_the_migrated_schema_is_the_declared_one(database_url):
    def differences(connection: Connection):
        def ours(_object, name, kind, _reflected, _other):
            return not (kind == "table" and name.startswith(("prediction_", "outcome_")))

        options = {"compare_server_default": True, "include_object": ours}
        return compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata)

    assert await run_in(database_url, differences) == []


async def test_migrations_go_down_to_nothing_and_up_again(database_url):
    def down(connection: Connection):
        config = alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        names = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        return set(names.scalars())

    assert await run_in(database_url, down) == {"alembic_version"}
    await migrate(database_url)
    await test_the_migrated_schema_is_the_declared_one(database_url)


def empty(connection: Connection):
    connection.execute(text("DROP SCHEMA public CASCADE"))
    connection.execute(text("CREATE SCHEMA public"))


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(database_url):
    await run_in(database_url, lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(DatabaseNewer, match="newer Switchyard"):
        await migrate(database_url)


async def test_replicas_that_start_together_migrate_once(database_url):
    await run_in(database_url, empty)
    await asyncio.gather(*(migrate(database_url) for _ in range(4)))
    await test_the_migrated_schema_is_the_declared_one(database_url)
