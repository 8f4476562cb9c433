"""Being told at once, and again after the connection broke."""

import asyncio
from contextlib import asynccontextmanager, suppress

from app.core.notify import Notifications, notify
from tests.conftest import TESTER, run_sql

END_LISTENERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %' AND datname = current_database()"


async def tell(database, payload):
    async with database.writes(TESTER) as session:
        notify(session, "news", payload)


async def heard(queue):
    return await asyncio.wait_for(queue.get(), 10)


@asynccontextmanager
async def listening(database_url):
    """The news that comes, once somebody listens for it."""
    told = asyncio.Queue()
    notifications = Notifications(database_url)
    notifications.on("news", told.put_nowait)
    async with notifications:
        assert await heard(told) == ""
        yield told


async def test_who_lost_its_connection_looks_at_everything_and_is_told_again(database, database_url):
    async with listening(database_url) as told:
        await tell(database, "first")
        assert await heard(told) == "first"
        await run_sql(database_url, END_LISTENERS)
        assert await heard(told) == ""
        await tell(database, "second")
        assert await heard(told) == "second"


async def test_what_is_undone_is_told_nobody(database, database_url):
    async with listening(database_url) as told:
        with suppress(LookupError):
            async with database.writes(TESTER) as session:
                notify(session, "news", "undone")
                raise LookupError
        await tell(database, "kept")
        assert await heard(told) == "kept"
