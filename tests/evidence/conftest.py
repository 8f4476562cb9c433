"""The log's room alone behind HTTP, and a client for each role."""

from contextlib import AsyncExitStack

import httpx
import pytest
from fastapi import FastAPI

from app.core.access import Role
from app.core.authenticate import Authenticator
from app.core.config import Settings
from app.core.keys import make_key
from app.core.notify import Notifications
from app.core.problems import answer_errors_with_problems
from app.core.secrets import load_secrets
from app.evidence import api
from app.evidence.readers import FeedbackReaders
from tests import make
from tests.conftest import TESTER


@pytest.fixture
async def clients(database):
    """A client for each role's name; the keys are named as their roles."""
    service = FastAPI()
    answer_errors_with_problems(service)
    service.include_router(api.router, prefix="/api")
    service.state.settings = Settings()
    service.state.database = database
    service.state.feedback_readers = FeedbackReaders()
    service.state.secrets = await load_secrets(database)
    async with database.writes(TESTER) as session:
        keys = {role.label: (await make_key(session, name=role.label, role=role)).text for role in Role}
    async with AsyncExitStack() as stack:
        authenticator = Authenticator(service.state.settings, database, Notifications(database.url))
        service.state.authenticate = await stack.enter_async_context(authenticator)

        async def client(key):
            headers = {"Authorization": f"Bearer {key}"}
            transport = httpx.ASGITransport(service)
            opened = httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)
            return await stack.enter_async_context(opened)

        yield {name: await client(key) for name, key in keys.items()}


@pytest.fixture
def viewer(clients):
    return clients["viewer"]


@pytest.fixture
def caller(clients):
    return clients["caller"]


@pytest.fixture
async def version(database):
    """A version of a model that tells 0 from 1 by two numbers."""
    async with database.writes(TESTER) as session:
        return await make.version(session, "m")
