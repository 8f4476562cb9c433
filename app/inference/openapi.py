"""These doors as a part of the OpenAPI document: paths, schemas and errors of their own protocols."""

import re
from collections.abc import Iterable, Iterator

from app.inference.api import OPERATIONS
from app.inference.operations import Operation
from app.inference.shapes import JSON, SCHEMAS, Document, Shown

TAG = {
    "name": "protocols",
    "description": "The Open Inference Protocol v2 and MLflow's scoring protocol: the same models, keys, routes and log.",
}
MEANINGS = {
    400: "The request is wrong",
    401: "No valid key or token",
    403: "The key's role does not allow this",
    404: "No such model or version, or none that this key may see",
    413: "The body or the batch is too large",
    415: "The body is of a kind that is not read here",
    429: "Too many rows wait already; `Retry-After` says when to ask again",
    503: "It can't answer now; the message says why",
    504: "The deadline passed first",
    507: "There is no room to log the prediction",
}
PARAMETERS = {
    "model_id": ("`name`, `name:3`, `name:2.1.0` or `name@alias`", "churn"),
    "version": ("The number of a version; the model is then a bare name.", "1"),
}
_CODES = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "RESOURCE_DOES_NOT_EXIST"}


def describe_doors(operations: Iterable[Operation] = OPERATIONS) -> Document:
    """Every operation that says what it is, as an OpenAPI document without a head."""
    paths: Document = {}
    for operation in operations:
        if operation.shown is not None:
            paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(
                operation, operation.shown
            )
    return {"tags": [TAG], "paths": paths, "components": {"schemas": SCHEMAS}}


def _describe(operation: Operation, shown: Shown) -> Document:
    role = operation.role
    needs = "" if role is None else f"\n\nNeeds the role **{role.label}**."
    described: Document = {
        "tags": [TAG["name"]],
        "operationId": operation.act.__name__ + ("_of_version" if "{version}" in operation.path else ""),
        "summary": shown.summary,
        "description": shown.description + needs,
        "security": [] if role is None else [{"key": []}],
        "parameters": [*_path_parameters(operation.path), *shown.parameters],
        "responses": {"200": _success(shown)} | dict(_refusals(operation, shown)),
    }
    if shown.bodies:
        described["requestBody"] = {"required": True, "content": dict(_bodies(shown))}
    return described


def _path_parameters(path: str) -> Iterator[Document]:
    for name in re.findall(r"{(\w+)}", path):
        description, example = PARAMETERS[name]
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
            "description": description,
            "example": example,
        }


def _bodies(shown: Shown) -> Iterator[tuple[str, Document]]:
    for media_type, (schema, example) in shown.bodies.items():
        yield media_type, {"schema": schema, "example": example}


def _success(shown: Shown) -> Document:
    if shown.answer is None:
        return {"description": shown.summary}
    return {
        "description": shown.summary,
        "content": {JSON: {"schema": shown.answer, "example": shown.example}},
    }


def _refusals(operation: Operation, shown: Shown) -> Iterator[tuple[str, Document]]:
    """A door says every refusal in its own words, those of the layers in front of it included."""
    expected = {*shown.refusals, *(() if operation.role is None else (401, 403, 503))}
    for status in sorted(expected):
        yield (
            str(status),
            {"description": MEANINGS[status], "content": {JSON: _error(operation.path, status)}},
        )


def _error(path: str, status: int) -> Document:
    if path.startswith("/v2"):
        schema, example = "InferenceError", {"error": MEANINGS[status]}
    else:
        code = _CODES.get(status, "BAD_REQUEST")
        schema, example = "InvocationsError", {"error_code": code, "message": MEANINGS[status]}
    return {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}
