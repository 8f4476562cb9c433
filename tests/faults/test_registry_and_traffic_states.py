"""R1, R3, R5, D2: whatever order registry and traffic are changed in, what must always hold holds."""

import asyncio
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from sqlalchemy import select, text

from app.core.database import Database
from app.core.errors import Refusal
from app.deployments.actions import Order, choose_rollback_target, start_deployment, withdraw
from app.deployments.rules import Kind
from app.registry import lifecycle
from app.registry.actions import drop_alias, set_alias
from app.registry.queries import get_version_by_id
from app.registry.rules import MOVES, Stage
from app.registry.tables import Alias, Hold, Tenure, Version
from app.traffic.queries import current_routes
from tests import make
from tests.conftest import TESTER, run_sql, with_database

NAMES, ENVIRONMENTS, ALIASES = ("alpha", "beta"), ("production", "canary"), ("champion", "challenger")
EMPTY = "TRUNCATE model, version, route, route_revision, deployment, tenure, alias, hold, stage_move, version_file, job, want CASCADE"
WORLD = {}
"""The address of the database: Hypothesis makes its machines without arguments."""


class RegistryAndTraffic(RuleBasedStateMachine):
    """Every verb in any order; a verb that is refused changes nothing."""

    versions = Bundle("versions")

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.database = Database(WORLD["url"], pool_size=1)
        self.numbers, self.semantics = set(), set()
        self.run(run_sql(WORLD["url"], EMPTY))

    def teardown(self):
        self.run(self.database.close())
        self.runner.close()

    def run(self, work):
        return self.runner.run(work)

    def change(self, verb):
        """Do it in a transaction of its own; None when it was refused, and then nothing is different."""
        before = self.run(self.look())
        try:
            return self.run(self._commit(verb))
        except Refusal:
            assert self.run(self.look()) == before
            return None

    async def _commit(self, verb):
        async with self.database.writes(TESTER) as session:
            return await verb(session)

    async def read(self, query):
        async with self.database.reads() as session:
            return (await session.execute(query)).all()

    async def look(self):
        """Where everything stands."""
        return [
            await self.read(text(f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t"))
            for table in (
                "version",
                "alias",
                "hold",
                "tenure",
                "route",
                "route_revision",
                "stage_move",
                "fact",
            )
        ]

    @rule(target=versions, name=st.sampled_from(NAMES), same=st.booleans())
    def register(self, name, same):
        changes = {} if same else {"parameters": {"C": len(self.numbers)}}
        version = self.change(lambda session: make.version(session, name, **changes))
        assert (name, version.number) not in self.numbers
        assert (name, version.semantic) not in self.semantics
        self.numbers.add((name, version.number))
        self.semantics.add((name, version.semantic))
        return version.id

    @rule(target=versions, name=st.sampled_from(NAMES))
    def register_and_validate(self, name):
        version_id = self.register(name, True)
        self.change(lambda session: lifecycle.move_stage(session, version_id, Stage.STAGING, reason=""))
        return version_id

    @rule(version_id=versions, goal=st.sampled_from([stage for stage in Stage if stage != Stage.PRODUCTION]))
    def move(self, version_id, goal):
        if goal == Stage.DEPRECATED:
            return  # only traffic brings a version there
        [version] = self.run(
            self.read(select(Version.stage, Version.deleted_at).where(Version.id == version_id))
        )
        moved = self.change(lambda session: lifecycle.move_stage(session, version_id, goal, reason=""))
        if moved is not None:
            assert version.deleted_at is None
            assert goal in MOVES[version.stage]

    @rule(version_id=versions, alias=st.sampled_from(ALIASES))
    def point_alias(self, version_id, alias):
        async def point(session):
            await set_alias(session, await get_version_by_id(session, version_id), alias)

        self.change(point)

    @rule(name=st.sampled_from(NAMES), alias=st.sampled_from(ALIASES))
    def lose_alias(self, name, alias):
        self.change(lambda session: drop_alias(session, name, alias))

    @rule(
        version_id=versions,
        environment=st.sampled_from(ENVIRONMENTS),
        expected=st.sampled_from([None, 0, 1, 2]),
    )
    def promote(self, version_id, environment, expected):
        order = Order(environment=environment, expected_revision=expected)
        self.change(lambda session: start_deployment(session, version_id, order))

    @rule(name=st.sampled_from(NAMES), environment=st.sampled_from(ENVIRONMENTS))
    def roll_back(self, name, environment):
        async def back(session):
            target = await choose_rollback_target(session, name, None, environment)
            return await start_deployment(session, target, Order(environment=environment, kind=Kind.ROLLBACK))

        self.change(back)

    @rule(name=st.sampled_from(NAMES), environment=st.sampled_from(ENVIRONMENTS))
    def stop_answering(self, name, environment):
        self.change(lambda session: withdraw(session, name, environment, ""))

    @rule(version_id=versions)
    def delete_version(self, version_id):
        needed = self.run(self.read(select(Hold).where(Hold.version_id == version_id)))
        deleted = self.change(lambda session: _told(lifecycle.delete_version(session, version_id)))
        assert not (deleted and needed)

    @rule(name=st.sampled_from(NAMES))
    def delete_model(self, name):
        self.change(lambda session: _told(lifecycle.delete_model(session, name)))

    @invariant()
    def at_most_one_version_reigns_and_the_route_agrees(self):
        open_tenures = self.run(
            self.read(
                select(Tenure.model_id, Tenure.environment, Tenure.version_id).where(
                    Tenure.ended_at.is_(None)
                )
            )
        )
        reigning = {(model_id, environment): version_id for model_id, environment, version_id in open_tenures}
        assert len(reigning) == len(open_tenures)
        assert self.run(self._answering()) == reigning

    async def _answering(self):
        async with self.database.reads() as session:
            routes = await current_routes(session)
        return {
            (route.model_id, route.environment): route.arms[0].version_id for route in routes if route.arms
        }

    @invariant()
    def what_answers_is_in_production_held_and_alive(self):
        query = select(Version.id, Version.stage, Version.deleted_at).join(
            Tenure, Tenure.version_id == Version.id
        )
        rows = self.run(self.read(query.where(Tenure.ended_at.is_(None))))
        held = {row.version_id for row in self.run(self.read(select(Hold.version_id)))}
        assert all(
            row.stage == Stage.PRODUCTION and row.deleted_at is None and row.id in held for row in rows
        )
        in_production = self.run(self.read(select(Version.id).where(Version.stage == Stage.PRODUCTION)))
        assert {row.id for row in rows} == {row.id for row in in_production}

    @invariant()
    def no_alias_dangles(self):
        query = select(Alias).join(Version, Version.id == Alias.version_id)
        gone = query.where(Version.deleted_at.is_not(None) | (Version.model_id != Alias.model_id))
        assert self.run(self.read(gone)) == []


async def _told(work):
    await work
    return True


@pytest.fixture
async def world(postgres_url, template):
    name = f"states_{uuid4().hex[:8]}"
    await run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    url = with_database(postgres_url, name)
    await run_sql(url, "ALTER TABLE route_revision DISABLE TRIGGER USER")
    WORLD["url"] = url
    yield
    await run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


async def test_registry_and_traffic_keep_their_promises_in_any_order(world):
    bounded = settings(
        max_examples=15, stateful_step_count=25, deadline=None, derandomize=True, database=None,
        suppress_health_check=[*HealthCheck],
    )  # fmt: skip
    test = RegistryAndTraffic.TestCase
    test.settings = bounded
    await asyncio.to_thread(test("runTest").debug)
