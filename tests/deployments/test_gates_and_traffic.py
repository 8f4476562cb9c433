"""R4, R5, D2: nothing answers that the gate has not let through, and long looks at a version hold nothing up."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest

from tests.conftest import with_database
from tests.faults.harness import eventually
from tests.real_models import bring_to_production, register

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = $1::regclass"
HELD = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'idle in transaction' AND pid <> pg_backend_pid()
      AND state_change < (
        SELECT min(query_start) FROM pg_stat_activity JOIN pg_locks USING (pid)
        WHERE NOT granted AND relation = 'gate_report'::regclass
      )
"""
"""Transactions that were open already when somebody began to write a gate's report, and have done nothing since."""
GATES = "SELECT (SELECT count(*) FROM gate_report), (SELECT count(*) FROM fact), (SELECT count(*) FROM deployment)"


@pytest.fixture
async def bystander(shared_client, postgres_url):
    """A connection to the service's database."""
    connection = await asyncpg.connect(with_database(postgres_url, "shared").replace("+asyncpg", ""))
    yield connection
    await connection.close()


@asynccontextmanager
async def locked(bystander, table, mode):
    """Keep a table from others, who are seen to wait for it before the block goes on with `somebody_waits`."""
    transaction = bystander.transaction()
    await transaction.start()
    await bystander.execute(f"LOCK TABLE {table} IN {mode} MODE")

    async def somebody_waits():
        await eventually(lambda: bystander.fetchval(WAITING, table), within=30)

    try:
        yield somebody_waits
    finally:
        await transaction.rollback()


async def versions(client, name, count, **metadata):
    """The first in production, the others in staging."""
    await bring_to_production(client, name)
    for seed in range(1, count):
        reference = (await register(client, name, seed=seed, **metadata)).json()["model_id"]
        assert (await client.post(f"/api/models/{reference}/validate", json={})).status_code == 200


def promote(client, reference, **headers):
    return client.post(f"/api/models/{reference}/promote", json={}, headers=headers)


async def share(client, name, *weights, shadows=(), **options):
    arms = [{"name": f"a{n}", "model_id": f"{name}:{n}", "weight": w} for n, w in enumerate(weights, 1)]
    order = {"arms": arms, "shadows": [{"model_id": shadow} for shadow in shadows]} | options
    return await client.put(f"/api/models/{name}/route", json=order)


async def test_a_version_that_fails_the_gate_gets_no_share_unless_an_admin_says_why(shared_client):
    await versions(shared_client, "barred", 2, metrics={"accuracy": 0.5})
    bounds = {"gates": {"metrics": {"accuracy": {"min": 0.9}}}}
    assert (await shared_client.patch("/api/models/barred", json=bounds)).status_code == 200
    refused = await share(shared_client, "barred", 0.7, 0.3)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/gate-closed")
    assert "barred:2 may not go to production" in refused.json()["detail"]
    assert "force it with a `reason`" in refused.json()["detail"]
    assert (await share(shared_client, "barred", 1.0, shadows=["barred:2"])).status_code == 200
    assert (await share(shared_client, "barred", 0.7, 0.3, force=True)).status_code == 403
    forced = await share(shared_client, "barred", 0.7, 0.3, force=True, reason="a look at it")
    assert [arm["weight"] for arm in forced.json()["arms"]] == [0.7, 0.3]


async def test_a_promote_that_no_gate_could_let_through_leaves_the_gate_alone(shared_client, bystander):
    await versions(shared_client, "early", 1)
    raw = (await register(shared_client, "early", seed=1)).json()["model_id"]
    before = await bystander.fetchrow(GATES)
    for reference, problem in (("early:1", "already-serving"), (raw, "illegal-move")):
        refused = await promote(shared_client, reference)
        assert (refused.status_code, refused.json()["type"]) == (409, f"/problems/{problem}")
    assert "staging" in refused.json()["detail"]
    assert await bystander.fetchrow(GATES) == before


async def test_a_version_that_was_in_production_may_have_a_share_again(shared_client):
    await versions(shared_client, "veteran", 2)
    assert (await promote(shared_client, "veteran:2")).status_code == 200
    bounds = {"gates": {"metrics": {"accuracy": {"min": 0.99}}}}
    assert (await shared_client.patch("/api/models/veteran", json=bounds)).status_code == 200
    assert (await share(shared_client, "veteran", 0.5, 0.5)).status_code == 200


async def test_a_version_is_not_promoted_over_one_that_the_gate_did_not_hold_it_against(
    shared_client, bystander
):
    await versions(shared_client, "overtaken", 3)
    rival = await shared_client.post("/api/models/overtaken:2/validate", json={"goal": "production"})
    assert rival.status_code == 200
    async with locked(bystander, "gate_report", "SHARE") as somebody_waits:
        slow = asyncio.ensure_future(promote(shared_client, "overtaken:3"))
        await somebody_waits()
        assert (await promote(shared_client, "overtaken:2")).status_code == 200
    refused = await slow
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/champion-changed")
    assert "overtaken:2 is in production now" in refused.json()["detail"]
    assert (await promote(shared_client, "overtaken:3")).status_code == 200


async def test_a_key_holds_no_transaction_while_the_gate_looks_and_the_work_is_done_once(
    shared_client, bystander
):
    await versions(shared_client, "keyed", 2)
    key = {"Idempotency-Key": "promote-keyed-2"}
    async with locked(bystander, "gate_report", "SHARE") as somebody_waits:
        twice = [asyncio.ensure_future(promote(shared_client, "keyed:2", **key)) for _ in range(2)]
        await somebody_waits()
        await eventually(lambda: _is_none(bystander), within=30)
    answers = await asyncio.gather(*twice)
    assert 200 in {answer.status_code for answer in answers}
    for answer in answers:  # 202 repeats what the first was told before the replicas were ready
        assert answer.status_code in {200, 202} or answer.json()["type"] == "/problems/first-still-running"
    again = await promote(shared_client, "keyed:2", **key)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["id"] in {answer.json().get("id") for answer in answers}
    revisions = (await shared_client.get("/api/models/keyed/routes")).json()["items"]
    assert [each["revision"] for each in revisions] == [2, 1]


async def _is_none(bystander):
    return await bystander.fetchval(HELD) == 0


async def test_a_split_that_another_change_overtook_is_refused(shared_client, bystander):
    await versions(shared_client, "raced", 3)
    ready = await shared_client.post("/api/models/raced:3/validate", json={"goal": "production"})
    assert ready.status_code == 200
    async with locked(bystander, "gate_report", "SHARE") as somebody_waits:
        slow = asyncio.ensure_future(share(shared_client, "raced", 0.5, 0.5))
        await somebody_waits()
        assert (await promote(shared_client, "raced:3")).status_code == 200
    refused = await slow
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/route-raced")
