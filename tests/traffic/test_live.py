"""D10, S9: a replica looks routes up in memory, and neither a slow nor an absent database stops that."""

import asyncio

import pytest
from sqlalchemy import text

from app.core.database import Database
from app.core.ids import new_id
from app.core.notify import Notifications
from app.traffic import live
from app.traffic.actions import append_revision
from app.traffic.live import LiveRoute, RouteTable
from app.traffic.queries import RouteState
from app.traffic.rules import UNOWNED, Arm, Shadow, rebalance
from tests import make
from tests.conftest import TESTER, run_sql
from tests.faults.harness import eventually


def live_route(*weights, shadows=()):
    arms = tuple(Arm(f"arm {i}", new_id(), weight) for i, weight in enumerate(weights))
    owners = rebalance(UNOWNED, weights)
    return LiveRoute(RouteState(new_id(), "m", "production", "00ff", 7, arms, tuple(shadows), owners))


def test_requests_without_a_key_are_shared_out_by_weight():
    route = live_route(0.8, 0.2)
    drawn = [route.choose(None).arm for _ in range(5000)]
    assert 800 < drawn.count("arm 1") < 1200


def test_the_propensity_of_a_choice_is_the_share_of_buckets_that_lead_to_it():
    route = live_route(1 / 3, 1 / 3, 1 / 3)
    assert {route.choose(f"u{i}").propensity for i in range(100)} == {0.3334, 0.3333}


def test_an_arm_of_weight_nought_is_chosen_by_nobody_but_can_be_named():
    route = live_route(1.0, 0.0)
    assert {route.choose(f"u{i}").arm for i in range(2000)} == {"arm 0"}
    assert route.find_arm("arm 1").propensity == 0
    assert route.find_arm("arm 2") is None


def test_a_route_knows_every_version_that_must_be_ready():
    shadow = new_id()
    route = live_route(0.5, 0.5, shadows=[Shadow(shadow)])
    assert len(route.version_ids) == 3
    assert shadow in route.version_ids


@pytest.fixture
async def route_of(database):
    """A change of the one route: to so many versions that share it equally."""
    async with database.writes(TESTER) as session:
        versions = [await make.version(session) for _ in range(2)]

    async def change(count):
        arms = [Arm(f"arm {i}", version.id, 1 / count) for i, version in enumerate(versions[:count])]
        async with database.writes(TESTER) as session:
            await append_revision(session, versions[0].model_id, "production", arms, kind="set")

    await change(1)
    return change


async def reached(table, revision):
    changed = asyncio.Event()
    table.on_change(changed.set)
    async with asyncio.timeout(10):
        while table.find("m", "production").revision != revision:
            await changed.wait()
            changed.clear()


async def refused_looks(table, count):
    """Return when a table has looked at the database in vain for so many times."""
    await eventually(lambda: table.outage.attempts >= count, within=30)


async def test_an_exhausted_pool_delays_what_a_replica_learns_and_no_more(database_url, route_of):
    crowded = Database(database_url, pool_size=1, max_overflow=0, pool_timeout=0.2)
    async with RouteTable(crowded) as table:
        async with crowded.reads() as session:
            await session.execute(text("SELECT 1"))
            confirmed_at = table.confirmed_at
            await route_of(2)
            await refused_looks(table, 2)
            assert table.find("m", "production").revision == 1
            assert table.confirmed_at == confirmed_at
        await reached(table, 2)
    await crowded.close()


async def test_a_replica_goes_on_with_the_last_known_routes_while_the_database_is_away(
    database, database_url, postgres_url, route_of
):
    name = database.engine.url.database
    ending = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    notifications = Notifications(database_url)
    table = RouteTable(database)
    table.listen(notifications)
    async with table, notifications:
        await run_sql(postgres_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", ending)
        await refused_looks(table, 1)
        confirmed_at = table.confirmed_at
        await refused_looks(table, table.outage.attempts + 1)
        assert table.find("m", "production").choose("u").arm == "arm 0"
        assert table.confirmed_at == confirmed_at
        await run_sql(postgres_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await route_of(2)
        await reached(table, 2)
        assert table.confirmed_at > confirmed_at


async def test_a_change_reaches_a_replica_that_was_told_without_its_asking(
    database, database_url, route_of, monkeypatch
):
    monkeypatch.setattr(live, "CONFIRM_SECONDS", 3600)
    notifications = Notifications(database_url)
    table = RouteTable(database)
    table.listen(notifications)
    async with table, notifications:
        await notifications.connected.wait()
        for revision in range(2, 12):
            await route_of(1 + revision % 2)
            await reached(table, revision)
