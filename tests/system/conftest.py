"""The whole service in this process, but for its worker: what a worker leaves behind is made by hand."""

import pytest

from app.core.facts import seal_facts
from app.core.ids import new_id
from app.core.keys import make_key
from app.main import create_app
from app.reactions import REACTIONS
from tests.conftest import TESTER


@pytest.fixture
async def service(settings):
    """The application, running without a worker."""
    service = create_app(settings)
    async with service.router.lifespan_context(service):
        yield service


@pytest.fixture
async def key_of(service):
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
