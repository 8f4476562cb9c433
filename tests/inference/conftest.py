"""One running service with real models of every kind of signature, for all tests of these doors."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from app.core.config import Settings
from tests.conftest import client_of, run_sql, running, with_database
from tests.inference.fitted import FITTED
from tests.real_models import bring_to_production


@pytest.fixture(scope="session")
async def serving(postgres_url: str, template: str, tmp_path_factory) -> AsyncIterator[FastAPI]:
    """The whole application with these models in production: `cancer` (30 numbers), `churn` (mixed), `area` (regression)."""
    await run_sql(postgres_url, f"CREATE DATABASE inference TEMPLATE {template}")
    settings = Settings(
        database_url=with_database(postgres_url, "inference"),
        base_path=tmp_path_factory.mktemp("inference"),
        log_level="warning",
    )
    async with running(settings) as service:
        async with client_of(service) as client:
            await bring_to_production(client, "cancer")
            for name, fitted in FITTED.items():
                await fitted().bring_to_production(client, name)
        yield service


@pytest.fixture
async def door(serving: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of that service."""
    async with client_of(serving) as client:
        yield client
