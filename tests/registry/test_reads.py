"""R2: what is read of the registry, page by page, whichever way leads to it."""

import json
import re
from types import SimpleNamespace
from urllib.parse import parse_qsl

import pytest
from sqlalchemy import text
from sqlalchemy.dialects import postgresql
from starlette.requests import Request

from app.core.access import Role
from app.core.ids import new_id
from app.core.paging import Paging
from app.registry.actions import set_alias
from app.registry.lifecycle import enthrone, move_stage
from app.registry.queries import _select_meant
from app.registry.rules import Stage, parse_reference
from app.registry.schemas import ModelOut, VersionWhole
from tests import make
from tests.conftest import TESTER


async def test_a_plain_page_is_as_any_other(client, service):
    """Where nothing narrows a list, another way leads to its pages."""
    await make_versions(service, "plain-a", "plain-b", "plain_c")
    narrowed = (await client.get("/api/models", params={"search": "", "limit": 200})).json()
    assert (await client.get("/api/models", params={"limit": 200})).json() == narrowed
    seen, query = [], {"limit": 2}
    while query:
        page = (await client.get("/api/models", params=query)).json()
        seen += page["items"]
        query = page["next"] and {"limit": 2, "cursor": page["next"]}
    assert seen == narrowed["items"]
    for odd in ("limit=0", "limit=201", "limit=x", "limit=2&limit=3x", "limit=2&cursor=", "cursor=forged"):
        assert (await client.get(f"/api/models?{odd}")).status_code in {400, 422}, odd


async def test_a_key_sees_its_models_on_a_plain_page_too(client, service, key_of):
    await make_versions(service, "churn_a", "churn-b", "churnXa")
    for pattern, seen in [("churn_*", ["churn_a"]), ("churn?a", ["churnXa", "churn_a"]), ("n*", [])]:
        headers = await key_of(Role.VIEWER, (pattern,))
        page = (await client.get("/api/models", headers=headers)).json()
        assert sorted(model["name"] for model in page["items"]) == seen


async def test_answers_have_the_shape_that_they_are_documented_with(client, service):
    async with service.state.database.writes(TESTER) as session:
        for number in range(2):
            probe = {"sample_input": [], "warnings": ["odd"]} if number else {"served_as": "onnx"}
            text = {"description": 'q"\\ \n é', "tags": {"a": "b"}, "metrics": {"tiny": 1e-9, "one": 1.0}}
            version = await make.version(session, "shape", probe=probe, latency_ms=0.25, **text)
            await set_alias(session, version, f"alias-{number}")
        await move_stage(session, version.id, Stage.STAGING, reason="made so")
        await enthrone(session, version.id, reason="made so")
    document = (await client.get("/api/models/shape")).text
    assert json.loads(ModelOut.model_validate_json(document).model_dump_json()) == json.loads(document)
    whole = (await client.get("/api/models/shape:2")).text
    assert json.loads(VersionWhole.model_validate_json(whole).model_dump_json()) == json.loads(whole)
    assert json.loads(whole)["description"] == 'q"\\ \n é'
    assert json.loads(document)["aliases"] == {"alias-0": "shape:1", "alias-1": "shape:2"}
    assert json.loads(document)["production"] == {"production": "shape:2"}
    made_at = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", json.loads(whole)["made_at"])
    assert made_at is not None
    for reference in ("shape@alias-1", "shape:1.0.1", "shape:1.1.0"):
        answer = await client.get(f"/api/models/{reference}")
        assert answer.status_code == 404 or answer.text == whole
    (first, second) = (await client.get("/api/models/shape/versions")).json()["items"]
    assert [first["warnings"], second["served_as"]] == [["odd"], "onnx"]
    assert first == {name: value for name, value in json.loads(whole).items() if name in first}


async def test_a_cursor_is_of_one_list_only(client, service):
    await make_versions(service, "list-a", "list-a", "list-b", "list-b")
    page = (await client.get("/api/models/list-a/versions?limit=1")).json()
    rest = await client.get(f"/api/models/list-a/versions?limit=7&cursor={page['next']}")
    assert [version["version"] for version in rest.json()["items"]] == [1]
    models = (await client.get("/api/models?limit=1")).json()
    for foreign in (
        f"/api/models/list-b/versions?cursor={page['next']}",
        f"/api/models/list-a/versions?stage=validation&cursor={page['next']}",
        f"/api/models?cursor={page['next']}",
        f"/api/models?search=list&cursor={models['next']}",
    ):
        answer = await client.get(foreign)
        assert (answer.status_code, answer.json()["type"]) == (400, "/problems/foreign-cursor"), foreign


@pytest.mark.parametrize(
    ("route", "query", "others"),
    [
        (
            "/models/{model_id}/routes",
            "",
            ["/api/models/list-b/routes", "/api/models/list-a/routes?environment=staging"],
        ),
        ("/models/{model_id}/predictions", "", ["/api/models/list-b/predictions"]),
        ("/deployments", "model=list-a", ["/api/deployments?model=list-b", "/api/deployments"]),
    ],
)
async def test_so_it_is_where_lists_are_longer_in_the_making(client, service, route, query, others):
    await make_versions(service, "list-a", "list-b")
    after = 7 if route.endswith("routes") else str(new_id())
    cursor = sealed_cursor(service, route, query, after, model_id="list-a")
    own = f"/api{route.format(model_id='list-a')}?{query}"
    answer = await client.get(own, params=[*parse_qsl(query), ("cursor", cursor)])
    assert answer.status_code in {200, 404}  # no route is there yet; the cursor is no reason to refuse
    for foreign in others:
        answer = await client.get(foreign, params=[*parse_qsl(foreign.partition("?")[2]), ("cursor", cursor)])
        assert (answer.status_code, answer.json()["type"]) == (400, "/problems/foreign-cursor"), foreign


def sealed_cursor(service, route, query, after, **path_params):
    """What this service hands out with a page of a list that ends with `after`."""
    whose = path_params if "{" in route else {}
    scope = {"type": "http", "app": service, "path_params": whose, "query_string": query.encode()}
    paging = Paging.read(Request(scope | {"route": SimpleNamespace(path=route)}), 1, None)
    return paging.cut([after, after], lambda row: row)[1]


async def make_versions(service, *names):
    async with service.state.database.writes(TESTER) as session:
        for name in names:
            await make.version(session, name)


@pytest.mark.parametrize("reference", ["m:1", "m:1.0.0", "m@best", "m"])
async def test_a_version_is_found_by_keys_that_are_indexed(database, reference):
    """Of 30,000 versions, not each is looked at."""
    meant = _select_meant(parse_reference(reference), "production")
    compiled = meant.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
    async with database.writes(TESTER) as session:
        await session.execute(text("SET LOCAL enable_seqscan = off"))
        await session.execute(text("SET LOCAL enable_bitmapscan = off"))
        lines = await session.scalars(text(f"EXPLAIN {compiled}".replace(":", r"\:")))
        plan = "\n".join(lines)
    assert "Index Cond: (name = 'm'" in plan, plan
    assert "Seq Scan" not in plan, plan
    assert "(model_name" not in plan, plan
