"""`POST /api/models/{model_id}/predict` as a raw ASGI application: nothing between the bytes and the model."""

from starlette.datastructures import Headers, State
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.access import Caller
from app.core.errors import FieldProblem, Refusal
from app.core.problems import answer_refusal
from app.serving.answers import PredictRequest
from app.serving.dialects import read_option
from app.serving.encoding import encode_answer

PREFIXES = ("/api/models/", "/api/v1/models/")
SUFFIX = "/predict"
TEMPLATE = "/api/models/{model_id}/predict"


class PredictApp:
    """Answers predict requests and passes everything else on; `state` has `predictor` and `authenticate`."""

    def __init__(self, app: ASGIApp, *, state: State) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a prediction, or its refusal as a problem document."""
        reference = find_reference(scope)
        if reference is None:
            await self._app(scope, receive, send)
            return
        scope["route_template"] = TEMPLATE
        try:
            body = await self._predict(reference, scope, receive)
        except Refusal as refusal:
            await answer_refusal(refusal)(scope, receive, send)
        except ClientGone:
            return
        else:
            await _send_json(body, send)

    async def _predict(self, reference: str, scope: Scope, receive: Receive) -> bytes:
        headers = dict(scope["headers"])
        caller = await self._identify(headers, scope)
        request = PredictRequest(
            reference,
            await _read_body(receive),
            caller,
            request_id=scope["state"]["request_id"],
            entity_id=_entity_id(headers),
        )
        return await encode_answer(await self._state.predictor.predict(request))

    async def _identify(self, headers: dict[bytes, bytes], scope: Scope) -> Caller:
        caller: Caller = self._state.authenticate.known(
            headers.get(b"authorization")
        ) or await self._state.authenticate(Headers(scope=scope))
        scope["state"]["caller"] = caller
        return caller


def find_reference(scope: Scope) -> str | None:
    """The model reference of a predict request; None for any other.

    >>> find_reference({"type": "http", "method": "POST", "path": "/api/models/churn@champion/predict"})
    'churn@champion'
    """
    if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].endswith(SUFFIX):
        return None
    path: str = scope["path"]
    for prefix in PREFIXES:
        if path.startswith(prefix):
            reference = path[len(prefix) : -len(SUFFIX)]
            return reference if reference and "/" not in reference else None
    return None


class ClientGone(Exception):  # noqa: N818 - it hung up: nobody is left to answer
    """The client closed the connection before its request was there."""


async def _read_body(receive: Receive) -> bytes:
    """The whole body; its limits were checked on its way here."""
    message = await receive()
    if not message.get("more_body"):
        return _bytes_of(message)
    parts = [_bytes_of(message)]
    while message.get("more_body"):
        message = await receive()
        parts.append(_bytes_of(message))
    return b"".join(parts)


def _bytes_of(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    return body


def _entity_id(headers: dict[bytes, bytes]) -> str | None:
    given = headers.get(b"x-entity-id")
    if given is None:
        return None
    try:
        return read_option("X-Entity-Id", given.decode())
    except UnicodeDecodeError:
        raise FieldProblem("X-Entity-Id", "must be UTF-8") from None


async def _send_json(body: bytes, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
