"""The API's description of itself (S5): an example for everything, true to its schema; roles, problems, the main loop."""

import warnings

import jsonschema_rs
import pytest

from app.core.problems import MEDIA_TYPE
from app.system.examples import Examples
from app.system.openapi import list_operations
from tests import make
from tests.conftest import TESTER


@pytest.fixture
async def document(client):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = await client.get("/openapi.json")
    return answer.json()


def contents(document):
    """Every body that the document shows: where, what kind, whether it is asked for or answered, its content."""
    for path, method, operation in list_operations(document):
        where = f"{method} {path}"
        for media, content in operation.get("requestBody", {}).get("content", {}).items():
            yield where, media, content
        for status, response in operation["responses"].items():
            for media, content in response.get("content", {}).items():
                yield f"{where} {status}", media, content


async def test_every_operation_shows_an_example_of_what_it_takes_and_what_it_answers(document):
    assert [where for where, _, content in contents(document) if content.get("example") in (None, {})] == []
    for path, method, operation in list_operations(document):
        good = [
            response for status, response in operation["responses"].items() if status in {"200", "201", "202"}
        ]
        assert all(response.get("content") for response in good) or path == "/ping", f"{method} {path}"
        assert good or "204" in operation["responses"], f"{method} {path}"


async def test_every_example_is_true_to_its_schema(document):
    wrong = []
    for where, media, content in contents(document):
        if not media.endswith("json") or "schema" not in content:
            continue
        validator = jsonschema_rs.validator_for(content["schema"] | {"components": document["components"]})
        wrong += [f"{where}: {error.message}" for error in validator.iter_errors(content["example"])]
    assert wrong == []


async def test_the_document_is_valid_openapi_and_names_every_operation_once(document):
    assert document["openapi"].startswith("3.1")
    names = [operation["operationId"] for _, _, operation in list_operations(document)]
    assert len(names) == len(set(names))
    described = {tag["name"] for tag in document["tags"]}
    assert {tag for _, _, operation in list_operations(document) for tag in operation["tags"]} <= described


async def test_every_operation_says_who_may_ask(document):
    for path, method, operation in list_operations(document):
        if operation["security"]:
            assert "Needs the role **" in operation["description"], f"{method} {path}"
            assert {"401", "403", "503"} <= operation["responses"].keys(), f"{method} {path}"
        else:
            assert not path.startswith("/api"), f"{method} {path}"


async def test_problems_are_described_as_problems(document):
    assert "HTTPValidationError" not in str(document)
    for where, media, content in contents(document):
        if media == MEDIA_TYPE:
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, where


async def test_every_reference_leads_somewhere(document):
    def references(value):
        if isinstance(value, dict):
            yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else ())
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    for reference in set(references(document)):
        _, _, section, name = reference.split("/")
        assert name in document["components"][section], reference


async def test_predict_is_described_although_no_framework_routes_it(document):
    operation = document["paths"]["/api/models/{model_id}/predict"]["post"]
    assert operation["security"] == [{"key": []}]
    assert "instances" in operation["requestBody"]["content"]["application/json"]["schema"]["properties"]


async def test_a_model_describes_its_own_predict_operation(client, service):
    async with service.state.database.writes(TESTER) as session:
        await make.version(session, "churn")
    document = (await client.get("/api/models/churn:1/openapi")).json()
    operation = document["paths"]["/api/models/churn:1/predict"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    validator = jsonschema_rs.validator_for(schema)
    assert validator.is_valid(schema["examples"][0])
    assert validator.is_valid({"instances": [[0.5, 1.0]], "entity_id": "a"})
    assert not validator.is_valid({"instances": [["high", 1.0]]})
    assert not validator.is_valid({"instances": [{"x0": 1.0}]})


@pytest.mark.parametrize(
    ("reference", "status"), [("nothing:1", 404), ("churn:9", 404), ("churn", 404), ("a/b:1", 404)]
)
async def test_what_is_not_there_has_no_description(client, service, reference, status):
    async with service.state.database.writes(TESTER) as session:
        await make.version(session, "churn")
    assert (await client.get(f"/api/models/{reference}/openapi")).status_code == status


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        ({"type": "integer", "minimum": 7}, 7),
        ({"type": "string", "enum": ["a", "b"]}, "a"),
        ({"anyOf": [{"type": "null"}, {"type": "string", "format": "uuid"}]}, "01a1fd46-3f9c-71d3-9878-5c15666f8e2d"),
        ({"type": "object", "properties": {"model_id": {"type": "string"}, "ok": {"type": "boolean"}}},
         {"model_id": "breast-cancer:2", "ok": True}),
        ({"$ref": "#/components/schemas/Loop"}, {"again": None}),
        ({"type": "string", "example": "as shown"}, "as shown"),
    ],
)  # fmt: skip
def test_examples_come_from_schemas(schema, example):
    loop = {"type": "object", "properties": {"again": {"anyOf": [{"$ref": "#/components/schemas/Loop"}]}}}
    found = Examples({"Loop": loop}).of(schema)
    while isinstance(found, dict) and isinstance(found.get("again"), dict):
        found = found["again"]
    assert found == example
