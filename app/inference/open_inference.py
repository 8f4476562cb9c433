"""The Open Inference Protocol, version 2, over HTTP: what models there are, whether they are ready, and inference."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pydantic_core import to_json
from starlette.datastructures import State
from starlette.requests import Request
from starlette.responses import Response

import app as switchyard
from app.core.access import Role, caller_of
from app.core.errors import FieldProblem
from app.inference.errors import BinaryTensors, RepositoryControl
from app.inference.metadata import describe_version
from app.inference.operations import Act, Operation
from app.inference.outputs import encode_tensors
from app.inference.readiness import find_model_obstacle, find_obstacles
from app.inference.repository import index_models
from app.inference.scoring import score_whole
from app.inference.tensors import TENSORS, TensorEnvelope, read_tensor_envelope
from app.registry.queries import Filters, get_version, read_reference, select_versions
from app.serving.dialects import Dialect, decode_json
from app.serving.readers import is_small

EXTENSIONS = ["model_repository"]
BINARY_HEADER = "inference-header-content-length"
MOST_VERSIONS = 1000


def answer_json(value: Any, status: int = 200) -> Response:
    """A value as a whole answer."""
    return Response(to_json(value), status, media_type="application/json")


async def tell_server(_request: Request) -> Response:
    return answer_json({"name": "switchyard", "version": switchyard.__version__, "extensions": EXTENSIONS})


async def tell_liveness(_request: Request) -> Response:
    return answer_json({"live": True})


async def tell_readiness(request: Request) -> Response:
    obstacles = await find_obstacles(request)
    if not obstacles:
        return answer_json({"ready": True, "live": True})
    return answer_json({"error": "; ".join(obstacles), "ready": False, "live": True}, 503)


async def tell_model(request: Request) -> Response:
    async with request.app.state.database.reads() as session:
        version = await get_version(session, read_model(request))
        versions = await session.scalars(select_versions(version.model_id, Filters(), None, MOST_VERSIONS))
        numbers = sorted(each.number for each in versions)
    return answer_json(describe_version(version, numbers))


async def tell_model_readiness(request: Request) -> Response:
    reference = read_model(request)
    obstacle = await find_model_obstacle(request, reference)
    name = read_reference(reference).name
    if obstacle is None:
        return answer_json({"name": name, "ready": True})
    return answer_json({"error": obstacle, "name": name, "ready": False}, 503)


async def tell_index(request: Request) -> Response:
    body = await request.body()
    wish = decode_json(body) if body else {}
    entries = await index_models(request.app.state, caller_of(request))
    if isinstance(wish, dict) and wish.get("ready") is True:
        entries = [entry for entry in entries if entry["state"] == "READY"]
    return answer_json(entries)


async def refuse_control(_request: Request) -> Response:
    raise RepositoryControl


async def infer(request: Request) -> Response:
    """Score the rows that the tensors hold."""
    if BINARY_HEADER in request.headers:
        raise BinaryTensors
    body = await request.body()
    envelope, dialect = await _open_tensors(body, request.app.state)
    answer = await score_whole(request, read_model(request), body, dialect)
    return Response(await encode_tensors(answer, envelope), media_type="application/json")


async def _open_tensors(body: bytes, state: State) -> tuple[TensorEnvelope, Dialect]:
    """What comes back beside the answer is wanted here, the rows by the predictor: a small body is decoded for both.

    A large one is read by a child process, for each.
    """
    if is_small(body):
        payload = decode_json(body)
        return read_tensor_envelope(payload), replace(TENSORS, decode=lambda _body: payload)
    deadline = time.monotonic() + state.settings.predict_deadline_ms / 1000
    async with state.readers.lend(body, TENSORS, deadline=deadline) as large:
        envelope = await large.open()
        assert isinstance(envelope, TensorEnvelope)
        return envelope, TENSORS


def read_model(request: Request) -> str:
    """The model reference of a path, its version included.

    Raises:
        FieldProblem: both the model and the path say which version.
    """
    model: str = request.path_params["model_id"]
    version = request.path_params.get("version")
    if version is None:
        return model
    if not read_reference(model).is_bare:
        raise FieldProblem("version", f"the model {model!r} says already which version is meant")
    return f"{model}:{version}"


def _about_model(method: str, suffix: str, role: Role, act: Act) -> Iterator[Operation]:
    for path in ("/v2/models/{model_id}", "/v2/models/{model_id}/versions/{version}"):
        yield Operation(method, path + suffix, role, act)


OPERATIONS = (
    *_about_model("POST", "/infer", Role.CALLER, infer),
    Operation("GET", "/v2", Role.VIEWER, tell_server),
    Operation("GET", "/v2/", Role.VIEWER, tell_server),
    Operation("GET", "/v2/health/live", None, tell_liveness),
    Operation("GET", "/v2/health/ready", None, tell_readiness),
    *_about_model("GET", "", Role.VIEWER, tell_model),
    *_about_model("GET", "/ready", Role.VIEWER, tell_model_readiness),
    Operation("POST", "/v2/repository/index", Role.VIEWER, tell_index),
    Operation("POST", "/v2/repository/models/{model_id}/load", Role.OPERATOR, refuse_control),
    Operation("POST", "/v2/repository/models/{model_id}/unload", Role.OPERATOR, refuse_control),
)
