"""D2, D9, S9: routes change by appended revisions only, one winner at a time, and every replica learns of it."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core.notify import Notifications
from app.traffic.actions import append_revision
from app.traffic.errors import BadRoute, RouteMoved, RouteRaced
from app.traffic.live import RouteTable
from app.traffic.queries import current_routes
from app.traffic.rules import Arm
from tests import make
from tests.conftest import TESTER


@pytest.fixture
async def versions(database):
    async with database.writes(TESTER) as session:
        return [await make.version(session) for _ in range(2)]


async def change(database, arms, **options):
    async with database.writes(TESTER) as session:
        model_id = options.pop("model_id")
        return (await append_revision(session, model_id, "production", arms, kind="set", **options)).number


def only(version):
    return [Arm("champion", version.id, 1.0)]


async def test_each_change_is_the_next_revision(database, versions):
    one, two = versions
    assert await change(database, only(one), model_id=one.model_id) == 1
    assert await change(database, only(two), model_id=one.model_id, expected=1) == 2


async def test_a_change_based_on_an_old_revision_is_refused(database, versions):
    one, two = versions
    await change(database, only(one), model_id=one.model_id)
    await change(database, only(two), model_id=one.model_id)
    with pytest.raises(RouteMoved, match="revision 2, not 1"):
        await change(database, only(one), model_id=one.model_id, expected=1)


async def test_of_many_changes_at_once_those_that_saw_an_old_route_lose(database, versions):
    one, _ = versions
    await change(database, only(one), model_id=one.model_id)

    async def attempt():
        try:
            return await change(database, only(one), model_id=one.model_id, expected=1)
        except (RouteMoved, RouteRaced):
            return None

    assert sorted(filter(None, await asyncio.gather(*(attempt() for _ in range(8))))) == [2]


async def test_a_revision_can_be_neither_edited_nor_deleted(database, versions):
    one, _ = versions
    await change(database, only(one), model_id=one.model_id)
    for statement in ("UPDATE route_revision SET reason = 'x'", "DELETE FROM route_revision"):
        with pytest.raises(DBAPIError, match="append-only"):
            async with database.writes(TESTER) as session:
                await session.execute(text(statement))


async def test_arms_that_are_no_whole_or_twice_the_same_are_refused(database, versions):
    one, two = versions
    for arms in (
        [Arm("a", one.id, 0.5)],
        [Arm("a", one.id, 0.5), Arm("a", two.id, 0.5)],
        [Arm("a", one.id, 0.5), Arm("b", one.id, 0.5)],
    ):
        with pytest.raises(BadRoute):
            await change(database, arms, model_id=one.model_id)


async def test_a_replica_learns_of_a_change_and_keeps_callers_in_their_arm(database, database_url, versions):
    one, two = versions
    await change(database, only(one), model_id=one.model_id)
    table, notifications = RouteTable(database), Notifications(database_url)
    table.listen(notifications)
    changed = asyncio.Event()
    async with table, notifications:
        assert table.find("m", "production").choose("u").version_id == one.id
        table.on_change(changed.set)
        arms = [Arm("champion", one.id, 0.7), Arm("canary", two.id, 0.3)]
        await change(database, arms, model_id=one.model_id)
        await asyncio.wait_for(changed.wait(), 5)
        route = table.find("m", "production")
        assert route.revision == 2
        choices = [route.choose(f"user-{i}") for i in range(1000)]
        assert [route.choose(f"user-{i}") for i in range(1000)] == choices
        assert 230 < sum(choice.arm == "canary" for choice in choices) < 370
        assert {choice.propensity for choice in choices} == {0.7, 0.3}
    assert table.find("m", "staging") is None


async def test_a_withdrawn_route_answers_nobody(database, versions):
    one, _ = versions
    await change(database, only(one), model_id=one.model_id)
    await change(database, [], model_id=one.model_id)
    async with RouteTable(database) as table:
        assert table.find("m", "production") is None
    async with database.reads() as session:
        assert [state.revision for state in await current_routes(session)] == [2]
