"""D3, D5, D6: traffic shared between real versions over HTTP: prepared first, sticky, and told in every answer."""

from tests.real_models import bring_to_production, instances, register


async def share(client, name, *weights, shadows=(), **headers):
    arms = [
        {"name": f"arm-{number}", "model_id": f"{name}:{number}", "weight": weight}
        for number, weight in enumerate(weights, 1)
    ]
    order = {"arms": arms, "shadows": [{"model_id": shadow} for shadow in shadows], "reason": "test"}
    return await client.put(f"/api/models/{name}/route", json=order, headers=headers)


async def two_versions(client, name):
    await bring_to_production(client, name)
    await register(client, name, seed=1)
    await client.post(f"/api/models/{name}:2/validate", json={})


async def answers(client, name, entities):
    found = {}
    for entity in entities:
        body = {"instances": instances(), "entity_id": entity}
        found[entity] = (await client.post(f"/api/models/{name}/predict", json=body)).json()["model_id"]
    return found


async def test_entities_stick_to_their_version_and_move_only_when_the_shares_do(shared_client):
    await two_versions(shared_client, "shared")
    assert (await share(shared_client, "shared", 0.7, 0.3)).status_code == 200
    entities = [f"user-{i}" for i in range(60)]
    first = await answers(shared_client, "shared", entities)
    assert set(first.values()) == {"shared:1", "shared:2"}
    assert await answers(shared_client, "shared", entities) == first
    await share(shared_client, "shared", 0.4, 0.6)
    then = await answers(shared_client, "shared", entities)
    assert all(then[entity] == "shared:2" for entity in entities if first[entity] == "shared:2")


async def test_the_production_version_keeps_a_share(shared_client):
    await two_versions(shared_client, "kept")
    arms = [{"name": "a", "model_id": "kept:2", "weight": 1.0}]
    answer = await shared_client.put("/api/models/kept/route", json={"arms": arms})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/bad-route")


async def test_a_change_of_a_route_that_moved_is_refused(shared_client):
    await two_versions(shared_client, "moved")
    seen = (await shared_client.get("/api/models/moved/route")).headers["etag"]
    assert (await share(shared_client, "moved", 0.9, 0.1, **{"If-Match": seen})).status_code == 200
    stale = await share(shared_client, "moved", 0.8, 0.2, **{"If-Match": seen})
    assert (stale.status_code, stale.json()["current"]) == (412, 2)
    promoted = await shared_client.post("/api/models/moved:2/promote", json={}, headers={"If-Match": seen})
    assert promoted.status_code == 412


async def test_an_unvalidated_version_gets_no_share(shared_client):
    await bring_to_production(shared_client, "unvalidated")
    await register(shared_client, "unvalidated", seed=1)
    assert (await share(shared_client, "unvalidated", 0.5, 0.5)).status_code == 422


async def test_a_shadow_scores_without_answering(shared_client):
    await two_versions(shared_client, "shadowed")
    assert (await share(shared_client, "shadowed", 1.0, shadows=["shadowed:2"])).status_code == 200
    body = {"instances": instances(3), "request_id": "with-shadow"}
    answer = (await shared_client.post("/api/models/shadowed/predict", json=body)).json()
    assert answer["model_id"] == "shadowed:1"
