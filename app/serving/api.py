"""`POST /api/models/{model_id}/predict` as a raw ASGI application: nothing between the socket and the model.

It stands in front of everything else and keeps the same rules as what stands behind it: a request id and one line
in the log, the rules for hosts and browsers, the limits of bodies. Each is a call here, not a layer.
"""

import re
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, State
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.access import Caller
from app.core.config import Settings
from app.core.errors import FieldProblem
from app.core.hosts import CONFINED, HostPolicy
from app.core.limits import BodyReader, BodyTooLarge, ClientGone, RequestTooSlow, answer_and_close
from app.core.problems import answer_error
from app.core.telemetry import Visit
from app.core.wire import say_what_is_known
from app.serving.answers import PredictAnswer, PredictRequest
from app.serving.dialects import read_option
from app.serving.encoding import encode_answer, encode_small

TEMPLATE = "/api/models/{model_id}/predict"
_PATH = re.compile(r"/api/(?:v1/)?models/([^/]+)/predict")
_JSON = (b"content-type", b"application/json")


class PredictApp:
    """Answers predict requests and passes everything else on; `state` has `predictor` and `authenticate`."""

    def __init__(self, app: ASGIApp, *, state: State, settings: Settings) -> None:
        self._app = app
        self._state = state
        self._hosts = HostPolicy(settings)
        self._bodies = BodyReader(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a prediction, or its refusal as a problem document."""
        reference = find_reference(scope)
        if reference is None:
            await self._app(scope, receive, send)
            return
        scope["route_template"] = TEMPLATE
        visit = Visit(scope)
        try:
            body = await self._predict(reference, visit, scope, receive)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer and the log the rest
            await _refuse(error, visit, scope, receive, send)
        else:
            await _send_json(body, visit, send)
        finally:
            visit.end()

    async def _predict(self, reference: str, visit: Visit, scope: Scope, receive: Receive) -> bytes:
        if problem := self._hosts.find_problem(scope):
            raise problem
        headers = dict(scope["headers"])
        body = await self._bodies.collect(headers, receive)
        known = self._state.authenticate.known(headers.get(b"authorization"))
        caller: Caller = known or await self._state.authenticate(Headers(scope=scope))
        scope["state"]["caller"] = caller
        if scope["query_string"]:
            refuse_parameters(scope["query_string"])
        request = PredictRequest(
            reference,
            body,
            caller,
            request_id=visit.request_id,
            entity_id=read_entity_id(headers),
            encode=encode_small,
        )
        answer = await self._answer(request)
        return answer.encoded or await encode_answer(answer)

    async def _answer(self, request: PredictRequest) -> PredictAnswer:
        predictor = self._state.predictor
        plain: PredictAnswer | None = await predictor.predict_plain(request)
        if plain is not None:
            return plain
        await self._bodies.require_shallow(request.body)
        answer: PredictAnswer = await predictor.predict(request)
        return answer


def find_reference(scope: Scope) -> str | None:
    """The model reference of a predict request; None for any other.

    >>> find_reference({"type": "http", "method": "POST", "path": "/api/models/churn@champion/predict"})
    'churn@champion'
    """
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    match = _PATH.fullmatch(scope["path"])
    return match[1] if match else None


def refuse_parameters(query: bytes) -> None:
    """Refuse what stands after the `?` of a predict request, where nothing is read.

    Raises:
        FieldProblem: something does.
    """
    for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        raise FieldProblem(name, f"{say_what_is_known(name, ())}; options stand in the body or in headers")


def read_entity_id(headers: dict[bytes, bytes]) -> str | None:
    """The sticky key in a request's headers.

    Raises:
        FieldProblem: it can't be one.
    """
    given = headers.get(b"x-entity-id")
    if given is None:
        return None
    try:
        return read_option("X-Entity-Id", given.decode())
    except UnicodeDecodeError:
        raise FieldProblem("X-Entity-Id", "must be UTF-8") from None


async def _send_json(body: bytes, visit: Visit, send: Send) -> None:
    visit.status = 200
    headers = [_JSON, (b"content-length", b"%d" % len(body)), *CONFINED, visit.header]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _refuse(error: Exception, visit: Visit, scope: Scope, receive: Receive, send: Send) -> None:
    answer: Response = answer_error(error, scope)
    visit.status = answer.status_code
    answer.raw_headers += [*CONFINED, visit.header]
    if isinstance(error, BodyTooLarge | RequestTooSlow):
        await answer_and_close(answer, receive, send)
    else:
        await answer(scope, receive, send)
