"""A running service over HTTP, in this process, on a database of its own."""

from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI

from app import main
from app.core.config import Settings
from app.core.facts import seal_facts
from app.core.health import Health
from app.core.ids import new_id
from app.core.keys import make_key
from app.core.problems import answer_errors_with_problems
from app.reactions import REACTIONS
from app.system import api
from app.system.openapi import describe_in_full
from app.system.parts import watch_parts
from tests.conftest import TESTER


@asynccontextmanager
async def running(settings):
    """The service with its state, as `main` starts it."""
    service = FastAPI(lifespan=main.run, openapi_url=None, docs_url=None, redoc_url=None)
    service.state.settings, service.state.health = settings, Health()
    answer_errors_with_problems(service)
    for router in (api.BEFORE_MODELS, *api.ROUTERS, *(r for r in main.ROUTERS if r not in api.ROUTERS)):
        service.include_router(router, prefix="/api")
    for page in api.PAGES:
        service.include_router(page)
    describe_in_full(service)
    async with service.router.lifespan_context(service):
        watch_parts(service.state)
        yield service


@pytest.fixture
async def service(database_url, tmp_path):
    async with running(Settings(database_url=database_url, base_path=tmp_path)) as service:
        yield service


@pytest.fixture
async def client(service):
    transport = httpx.ASGITransport(service, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


@pytest.fixture
async def key_of(service, client):
    """Makes a key and gives the headers that use it; with a key there, nobody gets in without one."""

    async def make(role, models=("*",)):
        async with service.state.database.writes(TESTER) as session:
            made = await make_key(session, name=f"key-{new_id().hex[:12]}", role=role, models=models)
        await service.state.authenticate.refresh()
        return {"Authorization": f"Bearer {made.text}"}

    return make


async def seal_all(database):
    """Seal every fact, as the worker does."""
    async with database.writes(TESTER) as session:
        return await seal_facts(session, REACTIONS)
