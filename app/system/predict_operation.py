"""`POST …/predict` in OpenAPI: for all models, and for one with the columns of its signature."""

from typing import Annotated, Any

from fastapi import Path, Request

from app.core.access import Role, allows
from app.core.edge import Reads, room
from app.core.problems import problems
from app.registry import errors as registry_errors
from app.registry.queries import get_version
from app.runtimes.errors import ModelNotReady, QueueFull, TooManyRows, UnknownPayload
from app.runtimes.openapi import predict_body_schema
from app.runtimes.schema import Signature
from app.serving.errors import NothingScored

router = room("/models", "predictions")
PATH = "/api/models/{model_id}/predict"
ModelId = Annotated[
    str, Path(description="`name`, `name:3`, `name:2.1.0` or `name@alias`", examples=["breast-cancer:1"])
]
Document = dict[str, Any]

OPTIONS: Document = {
    "entity_id": {
        "type": "string",
        "description": "Whom the prediction is about; the same one meets the same arm.",
    },
    "request_id": {"type": "string", "description": "The caller's name for this request."},
    "environment": {"type": "string", "default": "production"},
    "arm": {"type": "string", "description": "Ask this arm of the route; for operators."},
}
ANY_ROWS: Document = {
    "type": "object",
    "properties": {
        "instances": {"type": "array", "items": {"type": ["array", "object"]}},
        "dataframe_records": {"type": "array", "items": {"type": "object"}},
        "dataframe_split": {
            "type": "object",
            "required": ["columns", "data"],
            "properties": {
                "columns": {"type": "array", "items": {"type": "string"}},
                "data": {"type": "array", "items": {"type": "array"}},
                "index": {"type": "array"},
            },
        },
        "inputs": {"type": ["object", "array"]},
    },
    "oneOf": [
        {"required": ["instances"]},
        {"required": ["dataframe_records"]},
        {"required": ["dataframe_split"]},
        {"required": ["inputs"]},
    ],
    "examples": [{"instances": [{"mean radius": 17.99, "mean texture": 10.38}], "entity_id": "patient-4711"}],
}
PREDICTION: Document = {
    "type": "object",
    "required": ["prediction_id", "prediction"],
    "properties": {
        "prediction_id": {
            "type": "string",
            "format": "uuid",
            "description": "Send the truth about it as feedback.",
        },
        "prediction": {"description": "The class or number; null beside `error`."},
        "probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
        "confidence": {"type": "number"},
        "error": {"type": "object", "description": "What is wrong with this row; the others have answers."},
    },
}
ANSWER: Document = {
    "type": "object",
    "required": ["model_id", "revision", "predictions", "latency_ms"],
    "properties": {
        "model_id": {"type": "string", "description": "The version that answered."},
        "revision": {
            "type": ["integer", "null"],
            "description": "The route's; null when the version was named.",
        },
        "predictions": {"type": "array", "items": PREDICTION},
        "latency_ms": {"type": "number"},
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
    "examples": [
        {
            "model_id": "breast-cancer:1",
            "revision": 3,
            "predictions": [
                {
                    "prediction_id": "01a1fd46-3f9c-71d3-9878-5c15666f8e2d",
                    "prediction": "malignant",
                    "probabilities": {"benign": 0.08, "malignant": 0.92},
                    "confidence": 0.92,
                }
            ],
            "latency_ms": 0.8,
        }
    ],
}
REFUSED = problems(
    registry_errors.BadReference,
    UnknownPayload,
    registry_errors.ModelNotFound,
    registry_errors.NoProductionVersion,
    TooManyRows,
    NothingScored,
    QueueFull,
    ModelNotReady,
)


def predict_operation(rows: Document, *, model: str | None = None) -> Document:
    """The operation with `rows` as the schema of its body; `model` when it is about that one alone."""
    body = rows | {"properties": OPTIONS | rows["properties"]}
    answers = {str(status): response for status, response in REFUSED.items()}
    return {
        "tags": ["predictions"],
        "operationId": "predict",
        "summary": f"Predict with {model}" if model else "Predict",
        "description": (
            "Ask a model for one answer per row. The rows come in exactly one of four forms; a row that does not fit "
            "gets an `error` of its own and harms no other. Every answer is logged before it is given."
        ),
        "parameters": [] if model else [_parameter("model_id", "path")],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {
                "description": "At least one row was scored.",
                "content": {"application/json": {"schema": ANSWER}},
            }
        }
        | answers,
    }


DESCRIBED: dict[int | str, Document] = {
    200: {
        "content": {
            "application/json": {
                "example": {
                    "openapi": "3.1.0",
                    "info": {"title": "breast-cancer:1", "version": "1.0.0"},
                    "paths": {"/api/models/breast-cancer:1/predict": {"post": {"operationId": "predict"}}},
                }
            }
        }
    }
}


def _parameter(name: str, place: str) -> Document:
    return {
        "name": name,
        "in": place,
        "required": True,
        "schema": {"type": "string"},
        "description": "`name`, `name:3`, `name:2.1.0` or `name@alias`; a bare name means who answers in production.",
        "example": "breast-cancer",
    }


@router.get(
    "/{model_id}/openapi",
    dependencies=[allows(Role.VIEWER)],
    responses=DESCRIBED
    | problems(
        registry_errors.BadReference,
        registry_errors.ModelNotFound,
        registry_errors.VersionNotFound,
        registry_errors.NoProductionVersion,
    ),
)
async def describe_predict(model_id: ModelId, request: Request, session: Reads) -> Document:
    """How to ask this very model: an OpenAPI document of its predict operation, with its columns and an example row."""
    version = await get_version(session, model_id)
    rows = predict_body_schema(
        Signature.from_json(version.signature), max_rows=request.app.state.settings.max_rows
    )
    return _document(version.model_reference, str(version.semantic), version.description, rows)


def _document(model: str, version: str, description: str, rows: Document) -> Document:
    path = PATH.replace("{model_id}", model)
    return {
        "openapi": "3.1.0",
        "info": {"title": model, "version": version, "description": description},
        "paths": {path: {"post": predict_operation(rows, model=model)}},
    }
