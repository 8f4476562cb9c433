"""D10: what a reference leads to is remembered until its model changes."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from app.core.database import Database
from app.core.notify import Notifications
from app.registry.actions import set_alias
from app.registry.facts import CHANNEL
from app.serving.directory import Directory
from app.traffic.live import RouteTable
from tests import make
from tests.conftest import TESTER


class Halting(Database):
    """Before its second reading it waits to be told."""

    def __init__(self, url):
        super().__init__(url)
        self.readings, self.halted, self.told = 0, asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def reads(self):
        self.readings += 1
        if self.readings == 2:
            self.halted.set()
            await self.told.wait()
        async with super().reads() as session:
            yield session


async def point_alias_at(database, version):
    async with database.writes(TESTER) as session:
        await set_alias(session, version, "a")


async def test_an_alias_that_moves_while_it_is_read_is_not_remembered_as_it_was(database, database_url):
    """The version is read first and what is logged of its model second; between them the alias moves."""
    async with database.writes(TESTER) as session:
        old, new = [await make.version(session) for _ in range(2)]
    await point_alias_at(database, old)
    halting, notifications, heard = Halting(database_url), Notifications(database_url), asyncio.Queue()
    directory = Directory(halting, RouteTable(database), notifications)
    notifications.on(CHANNEL, heard.put_nowait)
    async with asyncio.timeout(30), notifications:
        assert await heard.get() == ""
        slow = asyncio.ensure_future(directory.resolve("m@a", "production"))
        await halting.halted.wait()
        await point_alias_at(database, new)
        assert await heard.get() == "m"
        halting.told.set()
        assert (await slow).route.version_id == old.id
        assert (await directory.resolve("m@a", "production")).route.version_id == new.id
    await halting.close()


class Leaving(Database):
    """Away when a test says so."""

    is_away = False

    @asynccontextmanager
    async def reads(self):
        if self.is_away:
            raise ConnectionRefusedError
        async with super().reads() as session:
            yield session


async def test_what_may_have_changed_leads_where_it_did_while_the_database_is_away(database, database_url):
    """A connection that comes back just before the database goes again has everything forgotten."""
    async with database.writes(TESTER) as session:
        old, new = [await make.version(session) for _ in range(2)]
    await point_alias_at(database, old)
    leaving, notifications, heard = Leaving(database_url), Notifications(database_url), asyncio.Queue()
    directory = Directory(leaving, RouteTable(database), notifications)
    notifications.on(CHANNEL, heard.put_nowait)
    async with asyncio.timeout(30), notifications:
        assert await heard.get() == ""
        assert (await directory.resolve("m@a", "production")).route.version_id == old.id
        leaving.is_away = True
        await point_alias_at(database, new)
        assert await heard.get() == "m"
        assert directory.find("m@a", "production") is None
        assert (await directory.resolve("m@a", "production")).route.version_id == old.id
        with pytest.raises(ConnectionRefusedError):
            await directory.resolve("m@never-asked", "production")
        leaving.is_away = False
        assert (await directory.resolve("m@a", "production")).route.version_id == new.id
    await leaving.close()
