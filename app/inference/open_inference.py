"""The Open Inference Protocol, version 2, over HTTP: what models there are, whether they are ready, and inference."""

from collections.abc import Iterator
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

import app as switchyard
from app.core.access import Role, caller_of
from app.core.errors import FieldProblem
from app.inference import shapes
from app.inference.errors import BinaryTensors, RepositoryControl
from app.inference.metadata import describe_version
from app.inference.operations import Act, Operation
from app.inference.outputs import encode_tensors
from app.inference.readiness import find_model_obstacle, find_obstacles
from app.inference.repository import index_models
from app.inference.scoring import score_whole
from app.inference.shapes import Shown
from app.inference.tensors import TENSORS
from app.registry.queries import get_version, read_reference
from app.registry.search import Filters, select_versions
from app.runtimes.errors import MisshapenPayload
from app.serving.dialects import decode_json
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
        versions = select_versions(version.model_id, Filters(), None, MOST_VERSIONS)
        numbers = await session.scalars(versions.with_only_columns(versions.selected_columns.number))
    return answer_json(describe_version(version, sorted(numbers)))


async def tell_model_readiness(request: Request) -> Response:
    reference = read_model(request)
    obstacle = await find_model_obstacle(request, reference)
    name = read_reference(reference).name
    if obstacle is None:
        return answer_json({"name": name, "ready": True})
    return answer_json({"error": obstacle, "name": name, "ready": False}, 503)


async def tell_index(request: Request) -> Response:
    wants_ready_ones = _read_wish(await request.body())
    entries = await index_models(request.app.state, caller_of(request))
    if wants_ready_ones:
        entries = [entry for entry in entries if entry["state"] == "READY"]
    return answer_json(entries)


def _read_wish(body: bytes) -> bool:
    """Whether an index is asked for of what is ready alone."""
    if not body:
        return False
    wish = decode_json(body) if is_small(body) else None
    wants_ready_ones = wish.get("ready", False) if isinstance(wish, dict) else None
    if not isinstance(wants_ready_ones, bool):
        raise MisshapenPayload("body", 'must be {"ready": true}, {"ready": false} or nothing')
    return wants_ready_ones


async def refuse_control(_request: Request) -> Response:
    raise RepositoryControl


async def infer(request: Request) -> Response:
    """Score the rows that the tensors hold."""
    if BINARY_HEADER in request.headers:
        raise BinaryTensors
    answer = await score_whole(request, read_model(request), TENSORS)
    return Response(await encode_tensors(answer), media_type="application/json")


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


def _about_model(method: str, suffix: str, role: Role, act: Act, shown: Shown) -> Iterator[Operation]:
    for path in ("/v2/models/{model_id}", "/v2/models/{model_id}/versions/{version}"):
        yield Operation(method, path + suffix, role, act, shown)


OPERATIONS = (
    *_about_model("POST", "/infer", Role.CALLER, infer, shapes.INFER),
    Operation("GET", "/v2", Role.VIEWER, tell_server, shapes.SERVER),
    Operation("GET", "/v2/", Role.VIEWER, tell_server),
    Operation("GET", "/v2/health/live", None, tell_liveness, shapes.LIVE),
    Operation("GET", "/v2/health/ready", None, tell_readiness, shapes.READY),
    *_about_model("GET", "", Role.VIEWER, tell_model, shapes.MODEL),
    *_about_model("GET", "/ready", Role.VIEWER, tell_model_readiness, shapes.MODEL_READY),
    Operation("POST", "/v2/repository/index", Role.VIEWER, tell_index, shapes.INDEX),
    Operation("POST", "/v2/repository/models/{model_id}/load", Role.OPERATOR, refuse_control),
    Operation("POST", "/v2/repository/models/{model_id}/unload", Role.OPERATOR, refuse_control),
)
