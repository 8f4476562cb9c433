"""A whole application with its worker in this process, on a database of its own, for the tests of one module."""

from contextlib import asynccontextmanager

from app.core.config import Settings
from tests.conftest import client_of, run_sql, running, with_database


@asynccontextmanager
async def open_house(postgres_url, template, base_path, name, **options):
    """The running application, a client of it, and the address of its database."""
    await run_sql(
        postgres_url, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name} TEMPLATE {template}"
    )
    url = with_database(postgres_url, name)
    patience = {"promote_patience_seconds": 60, "log_level": "error"}
    settings = Settings(database_url=url, base_path=base_path, **patience | options)
    async with running(settings) as app, client_of(app) as client:
        yield app, client, url
