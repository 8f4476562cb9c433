"""The API's description of itself, finished: what it is for, who may do what, an example for everything."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts

from app.core.access import Role, declared_role
from app.core.problems import MEDIA_TYPE
from app.system.examples import Examples
from app.system.predict_operation import ANY_ROWS, PATH, predict_operation

Document = dict[str, Any]
_LINK = re.compile(r"\[(?P<title>[^]]+)\]\(/problems/(?P<slug>[a-z-]+)\)")  # as `problems()` writes them
METHODS = ("get", "put", "post", "delete", "patch")

DESCRIPTION = """\
Switchyard closes the loop around machine-learning models in production. The main loop, in five calls:

1. **Register** a version: `POST /api/models` with its files. It is loaded once in a child process, signed and stored.
2. **Validate** it: `POST /api/models/{name}:{version}/validate` tries it at the gate before staging.
3. **Promote** it: `POST /api/models/{name}:{version}/promote`. Every replica loads and warms it, then one revision of the
   route switches traffic, so that no request fails.
4. **Predict**: `POST /api/models/{name}/predict`. Every answer has an id and is logged before it is given.
5. **Tell the truth** when it is known: `POST /api/models/{name}/feedback` with these ids. And when a release was a mistake:
   `POST /api/models/{name}/rollback`.

A model reference is `name` (who answers in production), `name:3`, `name:2.1.0` or `name@alias`. Lists come in pages:
pass `next` as `cursor`. A change that carries an `Idempotency-Key` is done once, however often it is sent. A refusal is a
problem document (RFC 9457) whose `type` leads to [a page about it](/problems). The Open Inference Protocol lies under
`/v2`, MLflow's scoring protocol at `/invocations`; they say their refusals in their own words.
"""
TAGS = [
    ("models", "Versions of models: their artifacts, stages, aliases, gates, and what tells them apart."),
    ("deployments", "Versions on their way to answering traffic, and back."),
    ("traffic", "Routes: who answers, with which share, revision by revision."),
    ("predictions", "Asking models, the log of what they answered, and what turned out to be true."),
    ("monitoring", "Whether what models are asked and answer still looks as it did when they were made."),
    ("alerts", "Rules over signals, incidents, silences, and the channels that they are told by."),
    ("system", "The service itself: health, configuration, keys, audit trail, clean-up."),
    ("probes", "What orchestrators and Prometheus ask."),
]
KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": (
        "An API key (`switchyard keys create`), or a token of the configured identity provider. "
        "Bound to loopback without any key, the service takes callers from this machine for its administrator."
    ),
}
PROBLEM = {
    "title": "Problem",
    "description": "Why a request was refused (RFC 9457); each kind of problem has members of its own beside these.",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {
            "type": "string",
            "format": "uri-reference",
            "description": "The page about this kind of problem.",
        },
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened this time, and the way out."},
    },
}
PROBLEMS = {
    "401": ("Unauthenticated", "no-credentials", "No valid key or token"),
    "403": ("Forbidden", "role-too-low", "The key's role does not allow this"),
    "404": ("NotFound", "model-not-found", "No such thing, or none that this key may see"),
    "422": ("Invalid", "invalid-request", "A field of the request is wrong"),
    "503": ("Unavailable", "database-away", "Something that this needs is not there now"),
}
"""What any operation may answer, by status: the component's name, the problem, and what it means."""

BINARY = "application/octet-stream"
OF_MEDIA = {
    BINARY: "(bytes)",
    "text/csv": "prediction_id,at,model_id,prediction\n01a1fd46-3f9c-71d3-9878-5c15666f8e2d,2025-03-01T12:00:00Z,churn:2,1\n",
    "application/x-ndjson": '{"sequence": 1, "kind": "ModelCreated", "subject": "model:churn", "hash": "9f86d0…"}\n',
    "application/vnd.apache.parquet": "PAR1…",
    "text/plain": "ok",
    "text/markdown": "# breast-cancer:2\n",
    "text/html": "<h1>breast-cancer:2</h1>",
}
MULTIPART = {
    "metadata": '{"name": "breast-cancer", "metrics": {"accuracy": 0.965}}',
    "artifact": ["model.skops"],
    "reference": "train.csv",
    "evaluation": "test.csv",
}


def describe_in_full(service: FastAPI, doors: Document) -> None:
    """Let `service.openapi()` give the finished description, made when it is first asked for.

    `doors` describes what no framework routes: finished paths, and the tags and components that they need.
    """
    service.openapi = partial(_describe, service, doors)  # type: ignore[method-assign]  # FastAPI's own way to extend it


def _describe(service: FastAPI, doors: Document) -> Document:
    if service.openapi_schema is None:
        service.openapi_schema = describe(service, doors)
    return service.openapi_schema


def describe(service: FastAPI, doors: Document) -> Document:
    """The whole document."""
    document = get_openapi(
        title="Switchyard",
        version=service.version,
        summary="Register, route, watch, compare and roll back machine-learning models in production.",
        description=DESCRIPTION,
        tags=[{"name": name, "description": text} for name, text in TAGS],
        routes=service.routes,
    )
    document["paths"][PATH] = {"post": predict_operation(ANY_ROWS)}
    declared = {(PATH, "post"): ("predict", Role.CALLER)} | dict(_declarations(service))
    for path, method, operation in list_operations(document):
        operation["operationId"], role = declared[path, method]
        _finish(operation, path, role)
    document["components"] = _components(document)
    examples = Examples(document["components"]["schemas"])
    for _, _, operation in list_operations(document):
        _show_examples(operation, examples)
    return _with_doors(document, doors)


def _with_doors(document: Document, doors: Document) -> Document:
    document["tags"] += doors["tags"]
    document["paths"] |= doors["paths"]
    document["components"]["schemas"] |= doors["components"]["schemas"]
    return document


def _declarations(service: FastAPI) -> Iterator[tuple[tuple[str, str], tuple[str, Role | None]]]:
    """For each path and method the endpoint's name and the least role that it asks for."""
    for context in iter_route_contexts(service.routes):
        route = context.original_route
        if isinstance(route, APIRoute):
            declared = declared_role(route)
            for method in context.methods or ():
                yield (str(context.path), method.lower()), (route.name, declared.role if declared else None)


def list_operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Path, method and operation of everything that a document describes."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def _finish(operation: Document, path: str, role: Role | None) -> None:
    """Say who may ask, and what any operation may answer."""
    responses = operation["responses"]
    responses.pop("422", None) if _is_frameworks_own(responses.get("422")) else None
    shared = {"503"}
    if operation.get("parameters") or "requestBody" in operation:
        shared |= {"422"}
    if role is None:
        operation["security"] = []
        shared = shared & {"422"}
    else:
        operation["security"] = [{"key": []}]
        operation["description"] = (
            f"{operation.get('description', '')}\n\nNeeds the role **{role.label}**.".strip()
        )
        shared |= {"401", "403"} | ({"404"} if "{model_id}" in path else set())
    for status in sorted(shared - responses.keys()):
        responses[status] = {"$ref": f"#/components/responses/{PROBLEMS[status][0]}"}


def _is_frameworks_own(response: Document | None) -> bool:
    """Whether FastAPI described a 422 of its own; ours are problems."""
    return response is not None and MEDIA_TYPE not in response.get("content", {})


def _components(document: Document) -> Document:
    components: Document = document.get("components", {})
    schemas = {
        name: schema
        for name, schema in components.get("schemas", {}).items()
        if name not in {"HTTPValidationError", "ValidationError"}
    }
    return components | {
        "schemas": schemas | {"Problem": PROBLEM},
        "responses": {
            name: {"description": text, "content": {MEDIA_TYPE: _problem(slug, int(status), text)}}
            for status, (name, slug, text) in PROBLEMS.items()
        },
        "securitySchemes": {"key": KEY},
    }


def _problem(slug: str, status: int, title: str) -> Document:
    return {
        "schema": {"$ref": "#/components/schemas/Problem"},
        "example": {
            "type": f"/problems/{slug}",
            "title": title,
            "status": status,
            "detail": "What happened this time, and the way out.",
        },
    }


def _show_examples(operation: Document, examples: Examples) -> None:
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        _show_example(media, content, examples)
    for status, response in operation["responses"].items():
        if status in {"200", "201"}:
            response.setdefault("content", {BINARY: {}})
        for media, content in response.get("content", {}).items():
            link = _LINK.search(response["description"])
            if media == MEDIA_TYPE and link:
                content.update(_problem(link["slug"], int(status), link["title"]))
            _show_example(media, content, examples)


def _show_example(media: str, content: Document, examples: Examples) -> None:
    if content.get("example") is not None or "examples" in content:
        return
    if media == "multipart/form-data":
        content["example"] = {name: MULTIPART[name] for name in content["schema"]["properties"]}
    elif media.partition(";")[0] in OF_MEDIA:
        content["example"] = OF_MEDIA[media.partition(";")[0]]
    else:
        content["example"] = examples.of(content.get("schema", {}))
