"""Examples out of JSON schemas: what a schema shows itself, else what its name stands for here, else what its type allows."""

from collections.abc import Mapping
from typing import Any

A_TIME = "2025-03-01T12:00:00Z"
AN_ID = "01a1fd46-3f9c-71d3-9878-5c15666f8e2d"
A_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
DEEPEST = 12

SAMPLES: Mapping[str, Any] = {
    "actor": "deploy-bot",
    "algorithm": "LogisticRegression",
    "alias": "champion",
    "aliases": ["champion"],
    "arm": "champion",
    "artifact_digest": A_DIGEST,
    "caller": "checkout",
    "channel": "on-call",
    "channels": ["on-call"],
    "classes": ["benign", "malignant"],
    "code_revision": "4f2c9e1",
    "creator": "ada",
    "dataset_version": "wdbc-1995",
    "description": "Malignant or benign, from 30 measurements of cell nuclei",
    "entity_id": "patient-4711",
    "environment": "production",
    "environments": ["production"],
    "framework": "scikit-learn",
    "fingerprint": "latency/model:breast-cancer",
    "format": "skops",
    "given_by": "clinic",
    "goal": "production",
    "last_error": "answered 500",
    "made_by": "ada",
    "metrics": {"accuracy": 0.965},
    "model": "breast-cancer",
    "model_a": "breast-cancer:1",
    "model_b": "breast-cancer:2",
    "model_id": "breast-cancer:2",
    "name": "breast-cancer",
    "next": None,
    "origin": "staging",
    "parameters": {"C": 1.0},
    "path": "model.skops",
    "prediction": "benign",
    "production": {"production": "breast-cancer:2"},
    "reason": "better on last week's labels",
    "replaces": "breast-cancer:1",
    "request_id": "01a1fd46-3f9b-7f01-8a3c-3d0f5b6c7d8e",
    "requirements": ["scikit-learn==1.9.1"],
    "role": "operator",
    "rule": "latency",
    "semantic_version": "1.1.0",
    "sensitive_columns": [],
    "served_as": "skops",
    "sha256": A_DIGEST,
    "shown": "https://hooks.example.org/…",
    "signature": {
        "inputs": [{"name": "mean radius", "type": "float", "nullable": False}],
        "task": "classification",
        "output": "string",
        "classes": ["benign", "malignant"],
    },
    "stage": "production",
    "status": "active",
    "tags": {"team": "diagnostics"},
    "version": 2,
    "warnings": [],
}
"""Values for members that mean the same wherever they occur."""

_OF_TYPE: Mapping[str, Any] = {
    "string": "text",
    "integer": 1,
    "number": 0.5,
    "boolean": True,
    "object": {},
    "array": [],
    "null": None,
}
_OF_FORMAT: Mapping[str, Any] = {
    "date-time": A_TIME,
    "date": A_TIME[:10],
    "uuid": AN_ID,
    "uri": "https://example.org/",
}
_PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


class Examples:
    """Makes examples for the schemas of one OpenAPI document."""

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        self._schemas = schemas

    def of(self, schema: Mapping[str, Any], name: str = "", depth: int = 0) -> Any:
        """An example of a schema; `name` is the member that it is for."""
        if depth > DEEPEST:
            return None
        schema = self._resolve(schema)
        for found in self._shown(schema, name):
            return found
        if "anyOf" in schema or "oneOf" in schema:
            return self._of_choice(schema.get("anyOf") or schema["oneOf"], name, depth)
        return self._of_type(schema, name, depth)

    def _resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        return schema

    def _shown(self, schema: Mapping[str, Any], name: str) -> list[Any]:
        """What the schema or the member's name say; the first of them counts."""
        found = [schema[key] for key in ("example", "const") if key in schema]
        found += schema.get("examples", [])
        if name in SAMPLES and self._fits(SAMPLES[name], schema):
            found.append(SAMPLES[name])
        return [*found, *schema.get("enum", [])]

    def _fits(self, value: Any, schema: Mapping[str, Any]) -> bool:
        schema = self._resolve(schema)
        branches = schema.get("anyOf") or schema.get("oneOf")
        if branches:
            return any(self._fits(value, branch) for branch in branches)
        if "enum" in schema:
            return value in schema["enum"]
        if isinstance(value, dict) and not value.keys() >= set(schema.get("required", ())):
            return False
        kinds = schema.get("type", [])
        listed = [kinds] if isinstance(kinds, str) else kinds
        return not listed or any(type(value) in _PYTHON_TYPES[kind] for kind in listed)

    def _of_choice(self, branches: list[Mapping[str, Any]], name: str, depth: int) -> Any:
        real = [branch for branch in branches if branch.get("type") != "null"]
        return self.of(real[0], name, depth + 1) if real else None

    def _of_type(self, schema: Mapping[str, Any], name: str, depth: int) -> Any:
        kinds = schema.get("type", "object" if "properties" in schema else "string")
        kind = kinds if isinstance(kinds, str) else kinds[0]
        if kind == "object":
            members = schema.get("properties", {})
            return {key: self.of(member, key, depth + 1) for key, member in members.items()}
        if kind == "array" and schema.get("items") and name:
            return [self.of(schema["items"], "", depth + 1)]
        if schema.get("default") is not None:
            return schema["default"]
        if kind in {"integer", "number"} and "minimum" in schema:
            return max(_OF_TYPE[kind], schema["minimum"])
        return _OF_FORMAT.get(schema.get("format", ""), _OF_TYPE[kind])
