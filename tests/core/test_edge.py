"""What every route of a room refuses by itself."""

import re

import pytest

from app.core.access import Role
from tests.conftest import client_of

METHODS = ("get", "post", "put", "patch", "delete")


async def test_every_route_of_a_room_refuses_a_parameter_that_it_would_ignore(shared_client):
    document = (await shared_client.get("/openapi.json")).json()
    routes = [
        (method, path)
        for path, operations in document["paths"].items()
        if path.startswith("/api/")
        for method in METHODS
        if method in operations
    ]
    assert len(routes) > 60
    lenient = []
    for method, path in routes:
        address = re.sub(r"\{\w+\}", "1", path)
        body = {"json": {"instances": [[1]]}} if path.endswith("/predict") else {}
        answer = await shared_client.request(method, f"{address}?bogus=1", **body)
        if answer.status_code != 422 or "bogus: is not known here" not in answer.json()["detail"]:
            lenient.append((method, path, answer.status_code))
    assert lenient == []


async def test_a_misspelt_parameter_is_told_with_those_that_are_known(shared_client):
    answer = await shared_client.get("/api/system/incidents?opne=true&limit=5")
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"].startswith("opne: is not known here; known are open, cursor, ")
    assert answer.json()["errors"][0]["in"] == "query"
    assert (await shared_client.get("/api/system/incidents?open=true&limit=5")).status_code == 200


async def test_who_may_not_call_a_route_is_not_told_of_its_parameters(service, key_of):
    async with client_of(service) as client:
        headers = await key_of(Role.VIEWER)
        answer = await client.put("/api/models/m/monitor?bogus=1", json={}, headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize("path", ["/api/models/m/drift-check", "/api/system/alert-rules"])
async def test_a_body_that_is_no_utf_8_is_malformed_json_with_the_place(shared_client, path):
    for body, place in ((b"\xff", "byte 0"), (b'{"name": "\xe9"}', "byte 10")):
        answer = await shared_client.post(path, content=body, headers={"Content-Type": "application/json"})
        told = answer.json()
        assert (answer.status_code, told["type"]) == (400, "/problems/malformed-json"), told
        assert place in told["detail"]
        assert "UTF-8" in told["detail"]
