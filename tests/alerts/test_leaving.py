"""M12: the incidents of a model end when it leaves production, as routes say, and not when its traffic pauses."""

from datetime import timedelta

import pytest

from app.core import clock, replicas
from app.core.facts import announce
from app.deployments.actions import Order, abort_deployment, start_deployment, withdraw
from app.deployments.facts import DeploymentFailed
from app.registry.lifecycle import delete_model
from app.registry.rules import Stage
from app.traffic.actions import append_revision
from app.traffic.rules import Shadow
from tests import make
from tests.conftest import TESTER

LATER = timedelta(hours=1)


@pytest.fixture
async def versions(database):
    async with database.writes(TESTER) as session:
        return [await make.version(session, stage=Stage.STAGING) for _ in range(3)]


@pytest.fixture
async def in_production(database, versions):
    return await deploy(database, versions[0])


@pytest.fixture
async def unwell(in_production, worker, signals):
    """A model in production whose latency is unwell."""
    signals["latency_ms"] = {"m": 1500.0}
    await worker.look()


async def deploy(database, version, **options):
    async with database.writes(TESTER) as session:
        return await start_deployment(session, version.id, Order(**options))


async def leave(worker, environment="production"):
    async with worker.database.writes(TESTER) as session:
        await withdraw(session, "m", environment, "the end")
    await follow(worker)


async def fail(worker):
    async with worker.database.writes(TESTER) as session:
        announce(session, DeploymentFailed("m", 2, "production", "d-1", problem="out of memory"))
    await follow(worker)


async def follow(worker):
    """Do what follows from what has happened, without any look."""
    await worker.seal()
    await worker.work_off()


async def incidents(worker):
    rows = await worker.rows("SELECT * FROM incident ORDER BY id")
    return [
        (row["rule"], row["resolved_at"] is None, row["resolved_by"], row["resolve_note"]) for row in rows
    ]


def left(rule, note="no route names a version of the model any more"):
    return rule, False, None, note


def still(rule):
    return rule, True, None, None


async def test_the_incidents_of_a_model_end_when_it_is_withdrawn(in_production, worker, signals):
    signals |= {"latency_ms": {"m": 1500.0}, "accuracy_drop": {"m": 0.2}, "drift": {"m": 0.4}}
    signals |= {"quality_score": {"m": 0.1}, "error_rate": {"m": 0.5}}
    await worker.look()
    await worker.look()
    await fail(worker)
    rules = sorted(rule for rule, *_ in await incidents(worker))
    assert rules == ["accuracy-drop", "deployment-failure", "drift", "error-rate", "latency", "quality-score"]
    await leave(worker)
    assert sorted(await incidents(worker)) == [left(rule) for rule in rules]
    ended = await worker.rows("SELECT body FROM fact WHERE kind = 'IncidentResolved'")
    assert {fact["body"]["by_itself"] for fact in ended} == {True}


async def test_what_was_withdrawn_unnoticed_ends_at_the_next_look(unwell, worker, signals):
    signals.clear()
    async with worker.database.writes(TESTER) as session:
        await withdraw(session, "m", "production", "the end")
    await worker.look()
    assert await incidents(worker) == [left("latency")]


async def test_a_model_without_traffic_keeps_its_incidents(unwell, worker, signals):
    signals.clear()
    await worker.look()
    assert await incidents(worker) == [still("latency")]


async def test_a_model_stays_for_as_long_as_a_route_names_it_anywhere(unwell, worker, versions):
    async with worker.database.writes(TESTER) as session:
        shadows = [Shadow(versions[1].id, 1.0)]
        await append_revision(session, versions[1].model_id, "canary", [], shadows, kind="set")
    await leave(worker)
    await worker.look()
    assert await incidents(worker) == [still("latency")]


async def test_what_a_model_did_before_it_left_opens_nothing_until_it_is_back(
    unwell, worker, signals, versions, monkeypatch
):
    await leave(worker)
    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: real() + LATER)  # the rule has cooled down
    await worker.look()
    assert await incidents(worker) == [left("latency")]
    await deploy(worker.database, versions[1])
    await worker.look()
    assert await incidents(worker) == [left("latency"), still("latency")]


async def test_a_model_that_never_was_in_production_keeps_its_failure_until_it_is_deleted(worker, versions):
    await fail(worker)
    await worker.look()
    assert await incidents(worker) == [still("deployment-failure")]
    async with worker.database.writes(TESTER) as session:
        await delete_model(session, "m")
    await follow(worker)
    assert await incidents(worker) == [left("deployment-failure", "the model has no version any more")]


async def test_a_deployment_that_was_to_bring_a_model_back_and_failed_is_not_over(in_production, worker):
    await leave(worker)
    await fail(worker)
    await worker.look()
    assert await incidents(worker) == [still("deployment-failure")]


async def test_a_failure_waits_for_the_version_that_is_on_its_way(in_production, worker, versions):
    await fail(worker)
    async with worker.database.writes(TESTER) as session:
        await replicas.join(session, "a")
    underway = await deploy(worker.database, versions[1], environment="canary")
    await leave(worker)
    assert await incidents(worker) == [still("deployment-failure")]
    async with worker.database.writes(TESTER) as session:
        await abort_deployment(session, underway.id, "")
    await worker.look()
    assert await incidents(worker) == [left("deployment-failure")]
