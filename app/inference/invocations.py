"""`/invocations` and `/ping`, as clients of MLflow's scoring server and of SageMaker call them."""

from pydantic_core import to_json
from starlette.datastructures import State
from starlette.requests import Request
from starlette.responses import Response

from app.core.access import Caller, Role, caller_of
from app.inference import shapes
from app.inference.errors import ModelNotNamed, NoModelServes, UnknownMediaType
from app.inference.operations import Operation
from app.inference.readiness import find_obstacles
from app.inference.scoring import encode_in_turns, score_whole
from app.inference.tabular import CSV, JSON
from app.registry.queries import PRODUCTION
from app.serving.answers import Part

_DIALECTS = {"application/json": JSON, "text/csv": CSV}


async def invoke(request: Request) -> Response:
    """Score the rows of a table."""
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type not in _DIALECTS:
        raise UnknownMediaType(list(_DIALECTS))
    model = request.query_params.get("model") or only_model(request.app.state, caller_of(request))
    answer = await score_whole(request, model, _DIALECTS[media_type])
    predictions = await encode_in_turns(answer.parts, _encode_predictions)
    return Response(b'{"predictions":[%b]}' % predictions, media_type="application/json")


def only_model(state: State, caller: Caller) -> str:
    """The one model in production that a caller may see.

    Raises:
        NoModelServes, ModelNotNamed: there is none, or more than one.
    """
    names: set[str] = {
        route.model
        for route in state.routes.all()
        if route.environment == PRODUCTION and route.is_open and caller.sees(route.model)
    }
    if not names:
        raise NoModelServes
    if len(names) > 1:
        raise ModelNotNamed(sorted(names))
    return names.pop()


def _encode_predictions(part: Part) -> bytes:
    return to_json(part.scored.scores.prediction, inf_nan_mode="null")[1:-1]


async def ping(request: Request) -> Response:
    """Whether requests are welcome here."""
    return Response(status_code=503 if await find_obstacles(request) else 200)


OPERATIONS = (
    Operation("POST", "/invocations", Role.CALLER, invoke, shapes.INVOKE),
    Operation("GET", "/ping", None, ping, shapes.PING),
)
