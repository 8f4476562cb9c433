"""The whole service in this process, but for its worker: what a worker leaves behind is made by hand."""

import pytest

from app.core.facts import seal_facts
from app.main import create_app
from app.reactions import REACTIONS
from tests.conftest import TESTER


@pytest.fixture
async def service(settings):
    """The application, running without a worker."""
    service = create_app(settings)
    async with service.router.lifespan_context(service):
        yield service


async def seal_all(database):
    """Seal every fact, as the worker does."""
    async with database.writes(TESTER) as session:
        return await seal_facts(session, REACTIONS)
