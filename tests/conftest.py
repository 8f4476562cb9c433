"""What tests stand on: a real Postgres of their own, and for each test a fresh clone of a migrated database."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from app.core.database import Actor, Database
from app.core.embedded import embedded_postgres
from app.core.migrate import migrate

TEMPLATE = "switchyard_template"
TESTER = Actor("tester", "admin")


async def run_sql(url: str, *statements: str) -> None:
    """Run statements outside a transaction, on a connection of their own."""
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def with_database(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
async def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A server for this run: the one that TEST_DATABASE_URL names, or an embedded one."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
        return
    async with embedded_postgres(tmp_path_factory.mktemp("server"), durable=False) as server:
        yield server.url


@pytest.fixture(scope="session")
async def template(postgres_url: str) -> str:
    """A database with every migration applied, to clone from."""
    await run_sql(postgres_url, f"DROP DATABASE IF EXISTS {TEMPLATE}", f"CREATE DATABASE {TEMPLATE}")
    await migrate(with_database(postgres_url, TEMPLATE))
    return TEMPLATE


@pytest.fixture
async def database_url(postgres_url: str, template: str) -> AsyncIterator[str]:
    """The address of a fresh, migrated database that nobody else uses."""
    name = f"test_{uuid4().hex[:12]}"
    await run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield with_database(postgres_url, name)
    await run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Connections to this test's database."""
    database = Database(database_url)
    yield database
    await database.close()
