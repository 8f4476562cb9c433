"""R5, D2, D9, D10: a version answers once every replica holds it ready; one promoter wins; the way back is short."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from app.core import clock, replicas
from app.core.errors import Refusal
from app.core.jobs import claim_job, run_claim
from app.deployments import actions
from app.deployments.actions import ADVANCE, Order, start_deployment
from app.deployments.errors import (
    AlreadyServing,
    DeploymentSettled,
    DeploymentUnderway,
    NothingToRollBackTo,
    NotOfThisModel,
)
from app.deployments.jobs import HANDLERS
from app.deployments.queries import get_deployment
from app.deployments.rules import Kind, Phase
from app.registry.errors import IllegalMove
from app.registry.lifecycle import delete_version
from app.registry.queries import find_champion, get_version_by_id, holders_of
from app.registry.rules import Stage
from app.traffic.actions import append_revision
from app.traffic.errors import RouteMoved
from app.traffic.queries import current_routes
from app.traffic.rules import Arm
from tests import make
from tests.conftest import TESTER


@pytest.fixture
async def versions(database):
    async with database.writes(TESTER) as session:
        return [await make.version(session, stage=Stage.STAGING) for _ in range(3)]


async def deploy(database, version, **options):
    async with database.writes(TESTER) as session:
        return await start_deployment(session, version.id, Order(**options))


async def try_to_deploy(database, version, **options):
    try:
        return await deploy(database, version, **options)
    except Refusal as refusal:
        return refusal


async def join(database, name):
    async with database.writes(TESTER) as session:
        return await replicas.join(session, name)


async def acknowledge(database, replica_id, version, problem=None):
    async with database.writes(TESTER) as session:
        await replicas.note_preparation(session, replica_id, version.id, problem=problem)


async def advance(database, deployment):
    async with database.writes(TESTER) as session:
        return await actions.advance_deployment(session, deployment.id)


async def look(database, deployment):
    async with database.reads() as session:
        return await get_deployment(session, deployment.id)


async def answering(database):
    """The version that answers, as the route says and as the registry says."""
    async with database.reads() as session:
        [route] = await current_routes(session)
        champion = await find_champion(session, route.model_id)
    assert [arm.version_id for arm in route.arms] == [champion.id]
    return champion.number


async def count(database, statement):
    async with database.reads() as session:
        return await session.scalar(text(statement))


async def test_a_version_that_nobody_has_to_prepare_answers_at_once(database, versions):
    first = await deploy(database, versions[0])
    second = await deploy(database, versions[1], reason="better")
    assert (first.phase, first.revision, first.from_version_number) == (Phase.LIVE, 1, None)
    assert (second.phase, second.revision, second.from_version_number) == (Phase.LIVE, 2, 1)
    assert await answering(database) == 2
    async with database.reads() as session:
        assert (await get_version_by_id(session, versions[0].id)).stage == Stage.DEPRECATED


async def test_the_version_that_answers_is_held_and_the_one_before_is_let_go(database, versions):
    await deploy(database, versions[0])
    await deploy(database, versions[1])
    async with database.reads() as session:
        assert await holders_of(session, versions[0].id) == []
        assert await holders_of(session, versions[1].id) == ["route production"]
    with pytest.raises(Refusal, match="route production"):
        async with database.writes(TESTER) as session:
            await delete_version(session, versions[1].id)


async def test_of_promoters_of_different_versions_at_once_the_record_shows_who_followed_whom(
    database, versions
):
    await deploy(database, versions[0])
    results = await asyncio.gather(*(try_to_deploy(database, version) for version in versions[1:]))
    assert all(isinstance(each, DeploymentUnderway) for each in results if isinstance(each, Refusal))
    made = sorted((each for each in results if not isinstance(each, Refusal)), key=lambda each: each.revision)
    for before, after in zip([1, *(each.version_number for each in made)], made, strict=False):
        assert after.from_version_number == before
    assert await answering(database) == made[-1].version_number


async def test_of_many_promoters_of_one_version_at_once_one_wins(database, versions):
    await deploy(database, versions[0])
    results = await asyncio.gather(*(try_to_deploy(database, versions[1]) for _ in range(6)))
    losers = [each for each in results if isinstance(each, Refusal)]
    assert len(losers) == 5
    assert all(isinstance(each, DeploymentUnderway | AlreadyServing) for each in losers)
    assert await count(database, "SELECT max(number) FROM route_revision") == 2
    async with database.reads() as session:
        assert await holders_of(session, versions[1].id) == ["route production"]


async def test_a_promoter_that_saw_an_old_route_changes_nothing(database, versions):
    await deploy(database, versions[0])
    await deploy(database, versions[1])
    with pytest.raises(RouteMoved):
        await deploy(database, versions[2], expected_revision=1)
    assert await answering(database) == 2
    assert await count(database, "SELECT count(*) FROM deployment") == 2


async def test_promoting_what_answers_already_is_refused(database, versions):
    await deploy(database, versions[0])
    with pytest.raises(AlreadyServing):
        await deploy(database, versions[0])


async def test_a_version_whose_stage_does_not_lead_to_production_changes_nothing(database):
    async with database.writes(TESTER) as session:
        raw = await make.version(session)
    with pytest.raises(IllegalMove):
        await deploy(database, raw)
    assert await count(database, "SELECT count(*) FROM route") == 0
    assert await count(database, "SELECT count(*) FROM deployment") == 0


async def test_traffic_stays_until_the_last_replica_has_prepared(database, versions):
    await deploy(database, versions[0])
    one, two = [await join(database, name) for name in ("one", "two")]
    await acknowledge(database, one, versions[1])
    deployment = await deploy(database, versions[1])
    assert deployment.phase == Phase.PREPARING
    assert deployment.steps[0]["waiting_for"] == ["two"]
    assert not await advance(database, deployment)
    assert await answering(database) == 1
    await acknowledge(database, two, versions[1])
    assert await advance(database, deployment)
    assert await advance(database, deployment)
    assert await answering(database) == 2
    assert await count(database, "SELECT count(*) FROM want") == 0
    assert await count(database, "SELECT count(*) FROM route_revision") == 2


async def test_a_replica_that_cannot_prepare_fails_the_deployment_and_nothing_else(database, versions):
    await deploy(database, versions[0])
    replica = await join(database, "small one")
    deployment = await deploy(database, versions[1])
    await acknowledge(database, replica, versions[1], problem="out of memory")
    assert await advance(database, deployment)
    failed = await look(database, deployment)
    assert failed.phase == Phase.FAILED
    assert failed.steps[-1]["problem"] == "small one: out of memory"
    assert await answering(database) == 1
    assert await count(database, "SELECT count(*) FROM want") == 0
    assert await count(database, "SELECT count(*) FROM fact WHERE kind = 'DeploymentFailed'") == 1


async def test_a_deadline_that_passes_fails_the_deployment_by_the_replicas_names(database, versions):
    await join(database, "slow one")
    deployment = await deploy(database, versions[0], prepare_seconds=0)
    assert await advance(database, deployment)
    failed = await look(database, deployment)
    assert failed.phase == Phase.FAILED
    assert failed.steps[-1]["problem"] == "slow one: not ready before the deadline"


async def test_a_replica_that_is_gone_is_waited_for_no_longer(database, versions):
    replica = await join(database, "leaving")
    deployment = await deploy(database, versions[0])
    async with database.writes(TESTER) as session:
        await replicas.leave(session, replica)
    assert await advance(database, deployment)
    assert await answering(database) == 1


async def test_a_second_deployment_names_the_open_one(database, versions):
    await join(database, "slow")
    deployment = await deploy(database, versions[0])
    with pytest.raises(DeploymentUnderway, match=str(deployment.id)):
        await deploy(database, versions[1])


async def test_an_aborted_deployment_leaves_room_for_the_next(database, versions):
    await join(database, "slow")
    deployment = await deploy(database, versions[0])
    async with database.writes(TESTER) as session:
        await actions.abort_deployment(session, deployment.id, "wrong one")
    with pytest.raises(DeploymentSettled, match="aborted"):
        async with database.writes(TESTER) as session:
            await actions.abort_deployment(session, deployment.id, "again")
    assert (await deploy(database, versions[1])).phase == Phase.PREPARING
    assert await count(database, "SELECT count(*) FROM want") == 1


async def do_next_job(database):
    claim = await claim_job(database, ["default"], [ADVANCE])
    await run_claim(claim, HANDLERS[ADVANCE])


async def test_the_durable_job_carries_a_deployment_through_in_its_starters_name(database, versions):
    replica = await join(database, "one")
    deployment = await deploy(database, versions[0])
    await do_next_job(database)
    assert (await look(database, deployment)).phase == Phase.PREPARING
    await acknowledge(database, replica, versions[0])
    async with database.writes(TESTER) as session:
        await session.execute(text("UPDATE job SET due_at = now()"))
    await do_next_job(database)
    assert (await look(database, deployment)).phase == Phase.LIVE
    assert await count(database, "SELECT actor FROM fact WHERE kind = 'VersionPromoted'") == "tester"
    assert await count(database, "SELECT state FROM job") == "done"


async def test_a_deployment_that_is_refused_when_it_goes_live_fails_with_the_refusal(database, versions):
    await deploy(database, versions[0])
    replica = await join(database, "one")
    deployment = await deploy(database, versions[1], expected_revision=1)
    async with database.writes(TESTER) as session:
        arms = [Arm("champion", versions[0].id, 1.0)]
        await append_revision(session, versions[0].model_id, "production", arms, kind="set")
    await acknowledge(database, replica, versions[1])
    await do_next_job(database)
    failed = await look(database, deployment)
    assert failed.phase == Phase.FAILED
    assert "not 1" in failed.steps[-1]["problem"]
    assert await answering(database) == 1


async def roll_back(database, to=None):
    async with database.writes(TESTER) as session:
        target = await actions.choose_rollback_target(session, "m", to, "production")
        return await start_deployment(session, target, Order(kind=Kind.ROLLBACK))


async def test_a_rollback_is_one_more_revision_with_the_version_before(database, versions):
    await deploy(database, versions[0])
    await deploy(database, versions[1])
    assert (await roll_back(database)).revision == 3
    assert await answering(database) == 1
    assert await count(database, "SELECT count(*) FROM fact WHERE kind = 'VersionRolledBack'") == 1


async def test_without_an_earlier_version_there_is_nothing_to_roll_back_to(database, versions):
    await deploy(database, versions[0])
    with pytest.raises(NothingToRollBackTo):
        await roll_back(database)


async def test_a_rollback_returns_to_a_named_version_that_was_in_production(database, versions):
    for version in versions:
        await deploy(database, version)
    await roll_back(database, to="1")
    assert await answering(database) == 1
    async with database.writes(TESTER) as session:
        never = await make.version(session, stage=Stage.STAGING)
    with pytest.raises(NotOfThisModel, match=never.model_reference):
        await roll_back(database, to=str(never.number))


async def test_a_model_is_not_withdrawn_while_a_version_is_on_its_way(database, versions):
    await deploy(database, versions[0])
    await join(database, "slow")
    await deploy(database, versions[1])
    with pytest.raises(DeploymentUnderway):
        async with database.writes(TESTER) as session:
            await actions.withdraw(session, "m", "production", "the end")
    assert await answering(database) == 1


async def test_a_withdrawn_model_answers_nobody_and_can_be_deleted(database, versions):
    await deploy(database, versions[0])
    async with database.writes(TESTER) as session:
        await actions.withdraw(session, "m", "production", "the end")
        await delete_version(session, versions[0].id)
    async with database.reads() as session:
        [route] = await current_routes(session)
        assert route.arms == ()
        assert await find_champion(session, route.model_id) is None


async def test_a_replica_not_seen_for_long_is_presumed_dead(database, versions, monkeypatch):
    await join(database, "dead")
    later = clock.now() + replicas.PRESUMED_DEAD + timedelta(seconds=1)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert (await deploy(database, versions[0])).phase == Phase.LIVE
