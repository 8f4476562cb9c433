"""Errors in the words of each door, whatever refuses under its root: middleware in front of it included."""

from collections.abc import Callable
from typing import Any

from pydantic_core import from_json, to_json
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.problems import MEDIA_TYPE

Problem = dict[str, Any]
Words = Callable[[Problem], dict[str, str]]

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


def word_for_open_inference(problem: Problem) -> dict[str, str]:
    """An error of the Open Inference Protocol.

    >>> word_for_open_inference({"status": 404, "detail": "There is no model 'x'."})
    {'error': "There is no model 'x'."}
    """
    return {"error": _message(problem)}


def word_for_invocations(problem: Problem) -> dict[str, str]:
    """An error of MLflow's scoring server.

    >>> word_for_invocations({"status": 422, "detail": "row 0 is null"})
    {'error_code': 'BAD_REQUEST', 'message': 'row 0 is null'}
    """
    status = problem["status"]
    fallback = "INTERNAL_ERROR" if status >= 500 else "BAD_REQUEST"
    return {"error_code": _ERROR_CODES.get(status, fallback), "message": _message(problem)}


def _message(problem: Problem) -> str:
    message: str = problem["detail"]
    return f"{problem['title']}: {problem['request_id']}" if "request_id" in problem else message


_WORDS: dict[str, Words] = {
    "v2": word_for_open_inference,
    "invocations": word_for_invocations,
    "ping": word_for_invocations,
}


def find_words(scope: Scope) -> Words | None:
    """The words of the door that a request is for, by the first step of its path; None if it is for none.

    >>> find_words({"type": "http", "path": "/v2beta"}) is None
    True
    """
    return _WORDS.get(scope["path"][1:].partition("/")[0]) if scope["type"] == "http" else None


class Reworded:
    """ASGI middleware, in front of all that may refuse, that turns problem documents into the errors of each door."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and reword what comes back if it is a problem."""
        words = find_words(scope)
        await self._app(scope, receive, send if words is None else _Rewording(send, words).send)


class _Rewording:
    """One answer on its way out; a problem's head waits for its document, which comes in one piece."""

    def __init__(self, send: Send, words: Words) -> None:
        self._send = send
        self._words = words
        self._head: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _announces_problem(message):
            self._head = message
        elif self._head is not None:
            head, self._head = self._head, None
            body = to_json(self._words(from_json(message["body"])))
            await self._send(_reworded_head(head, len(body)))
            await self._send({**message, "body": body})
        else:
            await self._send(message)


def _announces_problem(head: Message) -> bool:
    return (b"content-type", MEDIA_TYPE.encode()) in head["headers"]


def _reworded_head(head: Message, length: int) -> Message:
    headers = MutableHeaders(raw=list(head["headers"]))
    headers["content-type"] = "application/json"
    headers["content-length"] = str(length)
    return {**head, "status": _STATUSES.get(head["status"], head["status"]), "headers": headers.raw}
