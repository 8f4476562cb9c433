"""These doors in the OpenAPI document (S5): each example is sent to a running service, and the answer held against it."""

import jsonschema_rs
import pytest

from app.inference.api import OPERATIONS
from app.inference.openapi import describe_doors

DOORS = describe_doors()
UNDESCRIBED = {"/v2/", "/v2/repository/models/{model_id}/load", "/v2/repository/models/{model_id}/unload"}
DESCRIBED = [
    (path, method, operation)
    for path, operations in DOORS["paths"].items()
    for method, operation in operations.items()
]
ASKED = [
    pytest.param(path, method, operation, media_type, id=f"{method} {path} {media_type or ''}")
    for path, method, operation in DESCRIBED
    for media_type in operation.get("requestBody", {}).get("content", {"": None})
]


def request_of(client, path, method, operation, media_type, *, model=None):
    """The request that the examples of an operation make up."""
    query = {}
    for parameter in operation["parameters"]:
        value = model if model and parameter["name"] in {"model", "model_id"} else parameter["example"]
        path = path.replace(f"{{{parameter['name']}}}", value)
        if parameter["in"] == "query":
            query[parameter["name"]] = value
    request = {"params": query}
    if media_type:
        body = operation["requestBody"]["content"][media_type]["example"]
        request |= (
            {"content": body, "headers": {"Content-Type": media_type}}
            if media_type == "text/csv"
            else {"json": body}
        )
    return client.build_request(method.upper(), path, **request)


def assert_as_described(answer, operation):
    response = operation["responses"][str(answer.status_code)]
    content = response.get("content")
    if content is None:
        assert answer.content == b""
        return
    schema = content[answer.headers["content-type"]]["schema"]
    validator = jsonschema_rs.validator_for(schema | {"components": DOORS["components"]})
    assert [error.message for error in validator.iter_errors(answer.json())] == []


def test_every_operation_that_does_something_is_described():
    assert {operation.path for operation in OPERATIONS} - DOORS["paths"].keys() == UNDESCRIBED


async def test_the_document_holds_these_doors(door):
    document = (await door.get("/openapi.json")).json()
    for path, method, operation in DESCRIBED:
        assert document["paths"][path][method] == operation


@pytest.mark.parametrize(("path", "method", "operation", "media_type"), ASKED)
async def test_each_documented_example_is_answered_as_documented(door, path, method, operation, media_type):
    answer = await door.send(request_of(door, path, method, operation, media_type))
    assert answer.status_code == 200, answer.text
    assert_as_described(answer, operation)
    body = operation["responses"]["200"].get("content")
    if body and isinstance(answer.json(), dict):
        assert answer.json().keys() == body["application/json"]["example"].keys()


@pytest.mark.parametrize(
    ("path", "method", "operation", "media_type"),
    [
        param
        for param in ASKED
        if any(p["name"] in {"model", "model_id"} for p in param.values[2]["parameters"])
    ],
)
async def test_what_is_refused_is_refused_as_documented(door, path, method, operation, media_type):
    answer = await door.send(request_of(door, path, method, operation, media_type, model="nothing"))
    assert answer.status_code == 404
    assert_as_described(answer, operation)


@pytest.mark.parametrize(
    ("path", "content_type", "body", "status"),
    [
        ("/v2/models/{model_id}/infer", "application/json", b"{", 400),
        ("/v2/models/{model_id}/infer", "application/json", b'{"inputs": []}', 400),
        ("/v2/repository/index", "application/json", b'{"ready": 1}', 400),
        ("/invocations", "application/json", b"{}", 400),
        ("/invocations", "text/csv", b"age\n1\n", 400),
        ("/invocations", "text/plain", b"1", 415),
    ],
)
async def test_a_wrong_body_is_refused_as_documented(door, path, content_type, body, status):
    address = path.replace("{model_id}", "churn")
    answer = await door.post(
        address, content=body, headers={"Content-Type": content_type}, params={"model": "churn"}
    )
    assert answer.status_code == status
    assert_as_described(answer, DOORS["paths"][path]["post"])


@pytest.mark.parametrize(("path", "method", "operation"), DESCRIBED)
def test_each_documented_example_is_true_to_its_schema(path, method, operation):
    contents = [*operation.get("requestBody", {}).get("content", {}).values()]
    contents += [
        each for response in operation["responses"].values() for each in response.get("content", {}).values()
    ]
    for content in contents:
        validator = jsonschema_rs.validator_for(content["schema"] | {"components": DOORS["components"]})
        assert [error.message for error in validator.iter_errors(content["example"])] == []
