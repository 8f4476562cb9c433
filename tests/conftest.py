"""What tests stand on: a real Postgres of their own, and for each test a fresh clone of a migrated database."""

import asyncio
import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import hypothesis
import pytest
from fastapi import FastAPI
from sqlalchemy.engine import make_url
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.config import Settings
from app.core.database import Actor, Database
from app.core.embedded import embedded_postgres
from app.core.ids import new_id
from app.core.keys import make_key
from app.core.migrate import migrate
from app.main import create_app
from app.worker import run_worker

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine makes no test wrong
hypothesis.settings.load_profile("untimed")

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
async def postgres_url() -> AsyncIterator[str]:
    """A server for this run: the one that TEST_DATABASE_URL names, or an embedded one.

    Its directory is none of pytest's own: those are closed to other users, and Postgres never runs as root.
    """
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="switchyard-") as directory:
        async with embedded_postgres(Path(directory), durable=False) as server:
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


@pytest.fixture(scope="session")
async def shared_client(
    postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of one application for all tests that only add to it, under names of their own: real models cost seconds."""
    await run_sql(
        postgres_url, "DROP DATABASE IF EXISTS shared", f"CREATE DATABASE shared TEMPLATE {template}"
    )
    url, directory = with_database(postgres_url, "shared"), tmp_path_factory.mktemp("shared")
    settings = Settings(database_url=url, base_path=directory, log_level="warning")
    async with running(settings) as service, client_of(service) as client:
        yield client


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[FastAPI]:
    """The whole application and its worker, in this process."""
    service = create_app(settings)
    worker = asyncio.create_task(run_worker(settings))
    try:
        async with service.router.lifespan_context(service):
            yield service
    finally:
        worker.cancel()
        await asyncio.wait([worker])


def draining(service: FastAPI) -> ASGIApp:
    """An application as a server that shuts down calls it."""
    told = asyncio.Event()
    told.set()

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await service(scope | {"state": {"draining": told}}, receive, send)

    return call


def client_of(service: ASGIApp) -> httpx.AsyncClient:
    """A client of a running application, from this machine: without keys, it is the local admin."""
    transport = httpx.ASGITransport(app=service, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60)


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """What a service over this test's database is started with."""
    return Settings(database_url=database_url, base_path=tmp_path, log_level="warning")


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[FastAPI]:
    """The whole application, running."""
    async with running(settings) as service:
        yield service


@pytest.fixture
async def client(service: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of this test's application."""
    async with client_of(service) as client:
        yield client


@pytest.fixture
async def key_of(service):
    """Makes a key and gives the headers that use it; with a key there, nobody gets in without one."""

    async def make(role, models=("*",)):
        async with service.state.database.writes(TESTER) as session:
            made = await make_key(session, name=f"key-{new_id().hex[:12]}", role=role, models=models)
        await service.state.authenticate.refresh()
        return {"Authorization": f"Bearer {made.text}"}

    return make


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Connections to this test's database."""
    database = Database(database_url)
    yield database
    await database.close()
