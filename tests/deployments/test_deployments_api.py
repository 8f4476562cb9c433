"""D9, S9, R5: routes and deployments over HTTP: conditional, repeatable, paged, and refusing what would break traffic."""

import httpx
import pytest
from fastapi import FastAPI

from app.artifacts.cache import ArtifactCache
from app.artifacts.signing import open_signer
from app.artifacts.store import open_artifact_store
from app.core import replicas
from app.core.authenticate import Authenticator
from app.core.config import Settings
from app.core.notify import Notifications
from app.core.problems import answer_errors_with_problems
from app.core.secrets import load_secrets
from app.deployments import api as deployments
from app.deployments.actions import Order, start_deployment
from app.deployments.waiting import SettledDeployments
from app.registry.gates import Gatekeeper
from app.registry.queries import holders_of
from app.registry.rules import Stage
from app.runtimes.probe import Prober
from app.traffic import api as traffic
from app.traffic.live import RouteTable
from tests import make
from tests.conftest import TESTER

ROUTE = "/api/models/m/route"


@pytest.fixture
async def client(database, tmp_path):
    service = FastAPI()
    answer_errors_with_problems(service)
    for router in (deployments.verbs, deployments.router, traffic.router):
        service.include_router(router, prefix="/api")
    state, notifications = service.state, Notifications(database.url)
    state.settings = Settings(base_path=tmp_path, promote_patience_seconds=0.2)
    state.database, state.secrets = database, await load_secrets(database)
    state.settled_deployments = SettledDeployments(database, notifications)
    store, signer = open_artifact_store(state.settings), open_signer(state.settings)
    artifacts = ArtifactCache(store, signer, tmp_path)
    prober = Prober(seconds=10, memory_bytes=2**30, allowed_unsafe=())
    state.gatekeeper = Gatekeeper(database, store, artifacts, prober)
    state.preparing = replicas.Preparing(database, notifications)
    state.routes = RouteTable(database)
    state.routes.listen(notifications)
    transport = httpx.ASGITransport(service, raise_app_exceptions=False)
    async with (
        Authenticator(state.settings, database, notifications) as state.authenticate,
        state.routes,
        notifications,
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        await notifications.connected.wait()
        yield client


@pytest.fixture
async def versions(database):
    """Three versions: the second is in production, the first was."""
    async with database.writes(TESTER) as session:
        made = [await make.version(session, stage=Stage.STAGING) for _ in range(3)]
    for version in made[:2]:
        async with database.writes(TESTER) as session:
            await start_deployment(session, version.id, Order())
    async with database.writes(TESTER) as session:
        await make.gate_report(session, made[2], champion=made[1])
    return made


def arm(name, reference, weight):
    return {"name": name, "model_id": reference, "weight": weight}


def split(**options):
    return {"arms": [arm("champion", "m:2", 0.9), arm("challenger", "m:3", 0.1)]} | options


async def test_a_route_carries_its_revision_as_etag_and_a_change_needs_the_one_seen(client, versions):
    seen = (await client.get(ROUTE)).headers["etag"]
    assert seen == '"2"'
    changed = await client.put(ROUTE, json=split(), headers={"If-Match": seen})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"3"')
    assert [each["model_id"] for each in changed.json()["arms"]] == ["m:2", "m:3"]
    stale = await client.put(ROUTE, json=split(), headers={"If-Match": seen})
    assert (stale.status_code, stale.json()["type"]) == (412, "/problems/route-moved")


async def test_every_version_of_a_split_is_held_until_the_route_names_it_no_more(database, client, versions):
    async def holders():
        async with database.reads() as session:
            return [await holders_of(session, version.id) for version in versions]

    held = ["route production"]
    await client.put(ROUTE, json=split(shadows=[{"model_id": "m:1"}]))
    assert await holders() == [held, held, held]
    await client.post("/api/models/m/rollback", json={})
    assert await holders() == [held, [], []]


@pytest.mark.parametrize(
    "arms", [[arm("x", "m:3", 1.0)], [arm("x", "m:3", 1.0), arm("champion", "m:2", 0.0)]]
)
async def test_the_production_version_keeps_a_share_until_another_is_promoted(client, versions, arms):
    refused = await client.put(ROUTE, json={"arms": arms})
    assert refused.status_code == 422
    assert "m:2 is in production" in refused.json()["detail"]
    assert (await client.get(ROUTE)).headers["etag"] == '"2"'


async def test_where_nothing_is_in_production_there_is_nothing_to_split(client, versions):
    refused = await client.put(ROUTE, json=split(environment="qa"))
    assert (refused.status_code, refused.json()["type"]) == (404, "/problems/no-route")


@pytest.mark.parametrize(
    "path",
    [f"{ROUTE}?environment=%00", "/api/models/m/routes?environment=%00", "/api/deployments?model=%00"],
)
async def test_text_that_the_database_cannot_keep_is_refused_before_it_gets_there(client, versions, path):
    assert (await client.get(path)).status_code == 400


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8"])
async def test_a_promote_is_the_same_whether_its_shortcut_or_the_endpoint_takes_it(client, versions, kind):
    headers = {"Content-Type": kind, "If-Match": '"1"', "Idempotency-Key": "once"}
    stale = await client.post("/api/models/m:3/promote", content=b"{}", headers=headers)
    assert (stale.status_code, stale.json()["type"]) == (412, "/problems/route-moved")
    headers["If-Match"] = '"2"'
    for _ in range(2):
        answer = await client.post(
            "/api/models/m:3/promote", content=b'{"reason": "better"}', headers=headers
        )
        assert (answer.status_code, answer.json()["revision"], answer.json()["reason"]) == (200, 3, "better")
        assert answer.headers["location"] == answer.json()["links"]["self"]
    assert answer.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [(b'{"forse": true}', 422, "forse"), (b'{"reason": "a\\u0000b"}', 422, "reason"), (b"{", 400, "JSON")],
)
async def test_what_is_wrong_with_a_promote_is_told_as_of_any_other_request(
    client, versions, body, status, named
):
    headers = {"Content-Type": "application/json"}
    promoted, deployed = [
        await client.post(f"/api/models/m:3/{verb}", content=body, headers=headers)
        for verb in ("promote", "deploy")
    ]
    assert promoted.status_code == status
    assert named in promoted.text
    told = [
        answer.text.replace(", strategy", "") for answer in (promoted, deployed)
    ]  # only one of them has that
    assert told[0] == told[1]


@pytest.mark.parametrize("seen", ["W/x", '"-1"', '"1", "2"', "٣"])
async def test_an_if_match_that_is_no_revision_is_refused(client, versions, seen):
    refused = await client.put(ROUTE, json=split(), headers={"If-Match": seen.encode()})
    assert refused.status_code == 422


async def test_revisions_are_listed_newest_first_page_by_page(client, versions):
    first = (await client.get("/api/models/m/routes?limit=1")).json()
    second = (await client.get("/api/models/m/routes", params={"limit": 1, "cursor": first["next"]})).json()
    assert [page["items"][0]["revision"] for page in (first, second)] == [2, 1]
    assert second["next"] is None


async def test_a_rollback_answers_by_its_deployment_and_once_per_key(client, versions):
    key = {"Idempotency-Key": "k-1"}
    first = await client.post("/api/models/m/rollback", json={"reason": "errors"}, headers=key)
    again = await client.post("/api/models/m/rollback", json={"reason": "errors"}, headers=key)
    assert first.status_code == again.status_code == 200
    assert again.headers["idempotency-replayed"] == "true"
    body = first.json()
    assert again.json()["id"] == body["id"]
    assert (body["model_id"], body["replaces"], body["phase"], body["revision"]) == ("m:1", "m:2", "live", 3)
    assert (await client.get(first.headers["location"])).json()["id"] == body["id"]


async def test_a_rollback_of_an_old_route_is_refused(client, versions):
    stale = await client.post("/api/models/m/rollback", json={}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412


async def slow_replica(database):
    async with database.writes(TESTER) as session:
        return await replicas.join(session, "slow")


@pytest.mark.parametrize("headers", [{}, {"Prefer": "respond-async"}])
async def test_what_is_not_done_within_a_requests_patience_is_accepted(database, client, versions, headers):
    await slow_replica(database)
    accepted = await client.post("/api/models/m/rollback", json={}, headers=headers)
    assert (accepted.status_code, accepted.json()["phase"]) == (202, "preparing")
    status = await client.get(accepted.headers["location"] + "/status")
    assert status.json()["steps"][0]["waiting_for"] == ["slow"]
    rival = await client.post("/api/models/m/rollback", json={})
    assert (rival.status_code, rival.json()["deployment_id"]) == (409, accepted.json()["id"])


async def test_a_deployment_is_called_off_once(database, client, versions):
    await slow_replica(database)
    accepted = await client.post("/api/models/m/rollback", json={}, headers={"Prefer": "respond-async"})
    abort = accepted.headers["location"] + "/abort"
    assert (await client.post(abort, json={"reason": "wrong"})).json()["phase"] == "aborted"
    assert (await client.post(abort, json={})).status_code == 409
    assert (await client.get(ROUTE)).json()["arms"][0]["model_id"] == "m:2"


async def test_a_deployment_can_be_undone(client, versions):
    latest = (await client.get("/api/deployments?limit=1")).json()["items"][0]
    undone = await client.post(f"/api/deployments/{latest['id']}/rollback", json={"reason": "back"})
    assert (undone.status_code, undone.json()["model_id"]) == (200, "m:1")


async def test_an_unknown_deployment_is_not_found(client, versions):
    missing = await client.get(f"/api/deployments/{versions[0].id}")
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/deployment-not-found")
