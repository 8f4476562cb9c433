"""Errors in the words of each door: whatever refuses under its roots, middleware in front of it included."""

from collections.abc import Callable
from typing import Any

from pydantic_core import from_json, to_json
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.problems import MEDIA_TYPE
from app.inference.door import is_under

Problem = dict[str, Any]
_STATUSES = {422: 400}  # both protocols know 400 alone for a request that is wrong

_ERROR_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    507: "RESOURCE_EXHAUSTED",
}  # names of MLflow's ErrorCode (mlflow/protos/databricks.proto)


def word_for_open_inference(problem: Problem) -> Any:
    """An error of the Open Inference Protocol.

    >>> word_for_open_inference({"status": 404, "detail": "There is no model 'x'."})
    {'error': "There is no model 'x'."}
    """
    return {"error": _message(problem)}


def word_for_invocations(problem: Problem) -> Any:
    """An error of MLflow's scoring server.

    >>> word_for_invocations({"status": 422, "detail": "row 0 is null"})
    {'error_code': 'BAD_REQUEST', 'message': 'row 0 is null'}
    """
    status = problem["status"]
    fallback = "INTERNAL_ERROR" if status >= 500 else "BAD_REQUEST"
    return {"error_code": _ERROR_CODES.get(status, fallback), "message": _message(problem)}


def _message(problem: Problem) -> str:
    message = problem.get("detail") or problem["title"]
    return f"{message} ({problem['request_id']})" if "request_id" in problem else str(message)


class Reworded:
    """ASGI middleware that turns the problem documents under some roots into a door's own errors."""

    def __init__(self, app: ASGIApp, *, roots: tuple[str, ...], word: Callable[[Problem], Any]) -> None:
        self._app = app
        self._roots = roots
        self._word = word

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and reword what comes back if it is a problem."""
        if scope["type"] == "http" and is_under(self._roots, scope["path"]):
            send = _Rewording(send, self._word).send
        await self._app(scope, receive, send)


class _Rewording:
    """One answer on its way out; a problem's head waits for its document, which comes in one piece."""

    def __init__(self, send: Send, word: Callable[[Problem], Any]) -> None:
        self._send = send
        self._word = word
        self._head: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_problem(message):
            self._head = message
        elif self._head is not None:
            head, self._head = self._head, None
            document = from_json(message["body"])
            body = to_json(self._word(document))
            await self._send(_reworded_head(head, len(body)))
            await self._send({**message, "body": body})
        else:
            await self._send(message)


def _is_problem(head: Message) -> bool:
    return (b"content-type", MEDIA_TYPE.encode()) in head["headers"]


def _reworded_head(head: Message, length: int) -> Message:
    headers = MutableHeaders(raw=list(head["headers"]))
    headers["content-type"] = "application/json"
    headers["content-length"] = str(length)
    return {**head, "status": _STATUSES.get(head["status"], head["status"]), "headers": headers.raw}
