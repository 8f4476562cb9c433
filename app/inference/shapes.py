"""What requests and answers of these doors look like, in JSON Schema, and an example of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.inference.datatypes import DATATYPES

Document = dict[str, Any]

TEXT: Document = {"type": "string"}
TRUTH: Document = {"type": "boolean"}
SHAPE: Document = {
    "type": "array",
    "items": {"type": "integer"},
    "description": "Rows first; −1 stands for any size.",
}
PARAMETERS: Document = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}


def _object(required: Document, optional: Document | None = None) -> Document:
    return {"type": "object", "required": [*required], "properties": required | (optional or {})}


def _list(items: Document) -> Document:
    return {"type": "array", "items": items}


DATATYPE: Document = TEXT | {"enum": [*DATATYPES]}
TENSOR: Document = {"name": TEXT, "datatype": DATATYPE, "shape": SHAPE}
ELEMENTS = {"type": "array", "description": "The elements in row-major order, flat or nested."}
SCHEMAS: Document = {
    "InferenceRequest": _object(
        {"inputs": _list(_object(TENSOR | {"data": ELEMENTS}, {"parameters": PARAMETERS}))},
        {
            "id": TEXT | {"description": "Comes back; the request's id in the log."},
            "parameters": PARAMETERS
            | {"description": "`entity_id`, `environment` and `arm` are understood."},
            "outputs": _list(_object({"name": TEXT}))
            | {"description": "Those that are wanted; all when absent."},
        },
    ),
    "InferenceAnswer": _object(
        {
            "model_name": TEXT,
            "model_version": TEXT,
            "parameters": _object(
                {"prediction_ids": TEXT | {"description": "One for each row, with commas between."}},
                {"revision": {"type": "integer", "description": "The route's, when it chose the version."}},
            ),
            "outputs": _list(_object(TENSOR | {"data": ELEMENTS})),
        },
        {"id": TEXT},
    ),
    "InferenceModel": _object(
        {
            "name": TEXT,
            "versions": _list(TEXT),
            "platform": TEXT,
            "inputs": _list(_object(TENSOR)),
            "outputs": _list(_object(TENSOR)),
            "properties": {"type": "object", "additionalProperties": TEXT},
        }
    ),
    "InferenceIndex": _list(
        _object(
            {
                "name": TEXT,
                "version": TEXT,
                "state": TEXT | {"enum": ["READY", "LOADING", "UNAVAILABLE"]},
                "reason": TEXT,
            }
        )
    ),
    "InferenceError": _object({"error": TEXT}),
    "InvocationsAnswer": _object({"predictions": {"type": "array", "description": "One for each row."}}),
    "InvocationsError": _object({"error_code": TEXT, "message": TEXT}),
}


@dataclass(frozen=True)
class Shown:
    """How an operation is described.

    Attributes:
        answer: the schema of a 200, None when it has no body; `example` is one.
        bodies: by media type, the schema of what is sent and an example of it.
        parameters: those of the query, in OpenAPI's terms.
        refusals: statuses that it may answer beside those of any operation.
    """

    summary: str
    description: str
    answer: Document | None = None
    example: Any = None
    bodies: Mapping[str, tuple[Document, Any]] = field(default_factory=dict)
    parameters: tuple[Document, ...] = ()
    refusals: tuple[int, ...] = ()


def _schema(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}


JSON = "application/json"
SCORING = (400, 404, 413, 429, 504, 507)
ROW = {"age": 41, "spend": 99.5, "member": True, "city": "Oslo"}
EXAMPLE_IDS = "01a1fd46-3f9c-71d3-9878-5c15666f8e2d,01a1fd46-3f9c-7b02-8a11-0c6f1d2e3a4b"

SERVER = Shown(
    "The server, by the Open Inference Protocol",
    "Its name, its version, and the extensions of the protocol that it knows.",
    _object({"name": TEXT, "version": TEXT, "extensions": _list(TEXT)}),
    {"name": "switchyard", "version": "0.1.0", "extensions": ["model_repository"]},
)
LIVE = Shown("Whether the server lives", "For orchestrators.", _object({"live": TRUTH}), {"live": True})
READY = Shown(
    "Whether the server is ready",
    "It is once every model that it should hold is in memory; until then it answers 503 with the reason.",
    _object({"ready": TRUTH, "live": TRUTH}),
    {"ready": True, "live": True},
    refusals=(503,),
)
MODEL = Shown(
    "What a model takes and gives",
    "One input for each column. Where the property `matrix` is there, one tensor may stand for all columns.",
    _schema("InferenceModel"),
    {
        "name": "churn",
        "versions": ["1", "2", "3"],
        "platform": "sklearn_skops",
        "inputs": [{"name": "age", "datatype": "INT64", "shape": [-1]}],
        "outputs": [
            {"name": "predict", "datatype": "BYTES", "shape": [-1]},
            {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 2]},
        ],
        "properties": {"model_id": "churn:3", "stage": "production", "task": "classification"},
    },
    refusals=(400, 404),
)
MODEL_READY = Shown(
    "Whether a model is ready",
    "503 with the reason while it can't answer. A version that is not in memory is ready: its first request loads it.",
    _object({"name": TEXT, "ready": TRUTH}),
    {"name": "churn", "ready": True},
    refusals=(400, 404),
)
INFER = Shown(
    "Infer",
    "Score the rows that the tensors hold: all of them, or the request is refused. Tensors travel as JSON; the binary "
    "data extension is answered with 501.",
    _schema("InferenceAnswer"),
    {
        "model_name": "churn",
        "model_version": "3",
        "id": "a1",
        "parameters": {"revision": 7, "prediction_ids": EXAMPLE_IDS},
        "outputs": [
            {"name": "predict", "datatype": "BYTES", "shape": [2], "data": ["stays", "leaves"]},
            {"name": "predict_proba", "datatype": "FP64", "shape": [2, 2], "data": [0.2, 0.8, 0.7, 0.3]},
        ],
    },
    {
        JSON: (
            _schema("InferenceRequest"),
            {
                "id": "a1",
                "inputs": [
                    {"name": "age", "datatype": "INT64", "shape": [2], "data": [41, None]},
                    {"name": "spend", "datatype": "FP64", "shape": [2], "data": [99.5, 120]},
                    {"name": "member", "datatype": "BOOL", "shape": [2], "data": [True, False]},
                    {"name": "city", "datatype": "BYTES", "shape": [2], "data": ["Oslo", "Bergen"]},
                ],
            },
        )
    },
    refusals=SCORING,
)
INDEX = Shown(
    "The index of the model repository",
    "Every model that the key covers, and what of it is in this process's memory. Models are not loaded and unloaded "
    "one by one: a promotion loads them, so `load` and `unload` are answered with 501.",
    _schema("InferenceIndex"),
    [{"name": "churn", "version": "3", "state": "READY", "reason": ""}],
    {JSON: (_object({}, {"ready": TRUTH | {"description": "Of what is ready alone."}}), {"ready": True})},
    refusals=(400,),
)
INVOKE = Shown(
    "Predict, as MLflow's scoring server does",
    "Score the rows of a table: all of them, or the request is refused. JSON holds exactly one of the four forms; "
    "`params` may hold `entity_id`, `request_id`, `environment` and `arm`.",
    _schema("InvocationsAnswer"),
    {"predictions": ["stays"]},
    {
        JSON: (
            {
                "type": "object",
                "properties": {
                    "dataframe_split": _object(
                        {"columns": _list(TEXT), "data": _list({"type": "array"})},
                        {"index": {"type": "array"}},
                    ),
                    "dataframe_records": _list({"type": "object"}),
                    "instances": _list({"type": ["array", "object"]}),
                    "inputs": {"type": ["object", "array"]},
                    "params": {"type": "object"},
                },
                "oneOf": [
                    {"required": [form]}
                    for form in ("dataframe_split", "dataframe_records", "instances", "inputs")
                ],
            },
            {"dataframe_records": [ROW]},
        ),
        "text/csv": (TEXT, "age,spend,member,city\n41,99.5,true,Oslo\n"),
    },
    (
        {
            "name": "model",
            "in": "query",
            "schema": TEXT,
            "description": "A model reference; the only model in production when absent.",
            "example": "churn",
        },
    ),
    refusals=(*SCORING, 415),
)
PING = Shown(
    "Whether requests are welcome", "An empty answer: 200, or 503 with the same reasons as `/readyz`."
)
