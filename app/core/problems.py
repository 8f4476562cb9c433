"""Errors over HTTP: RFC 9457 problem details, and a page that documents each kind. Nothing else knows both."""

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from app.core.errors import Conflict, MalformedJson, Refusal, Unavailable, kinds_of_refusal
from app.core.outage import RAISED_BY_DRIVER, Outage, is_connection_trouble, state_of
from app.core.wire import said_of

log = structlog.get_logger()
MEDIA_TYPE = "application/problem+json"
_OUTAGE = Outage("requests")
_COLLISIONS = ("40001", "40P01")  # SQLSTATE: not serialisable, deadlock


class DatabaseAway(Unavailable):
    """The database can't be reached.

    Postgres can't be connected to, has no connection free, or broke one off. Predictions are answered from
    memory and logged to the spool meanwhile; everything else needs the database.
    """

    def detail(self) -> str:
        return (
            "The database can't be reached now; predictions go on, changes have to wait. Nothing was changed."
        )


class ChangesCollided(Conflict):
    """Another change of the same things was under way, and each waited for the other.

    Of changes that wait for each other the database ends one, so that the rest go on: this one. Nothing is
    wrong with it, and nothing of it was kept.
    """

    def detail(self) -> str:
        return "Another change of the same things was under way, and each waited for the other. Nothing was changed; send it again."


def slug(kind: type[Refusal]) -> str:
    """The last part of a kind's `type` address.

    >>> slug(DatabaseAway)
    'database-away'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


def title(kind: type[Refusal]) -> str:
    """A kind's name for people: the first line of its docstring, without the full stop."""
    return (kind.__doc__ or kind.__name__).split("\n", 1)[0].rstrip(".")


def problem_of(error: Refusal) -> dict[str, Any]:
    """The problem document of a refusal."""
    kind = type(error)
    head = {
        "type": f"/problems/{slug(kind)}",
        "title": title(kind),
        "status": kind.status,
        "detail": str(error),
    }
    return error.members() | head


def _answer(document: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    body = to_json(document, fallback=str, inf_nan_mode="null")
    return Response(body, document["status"], headers, MEDIA_TYPE)


def answer_refusal(error: Refusal) -> Response:
    """A refusal as a whole HTTP answer."""
    return _answer(problem_of(error), type(error).headers)


def answer_error(error: Exception, scope: Scope) -> Response:
    """Whatever went wrong with a request as a whole HTTP answer; what nobody foresaw is logged, and not told."""
    if isinstance(error, Refusal):
        return answer_refusal(error)
    if isinstance(error, DBAPIError) and state_of(error) in _COLLISIONS:
        log.warning("changes_collided", error=str(error.orig))
        return answer_refusal(ChangesCollided())
    if is_connection_trouble(error):
        _OUTAGE.goes_on(error)
        return answer_refusal(DatabaseAway())
    return _answer_defect(error, scope)


async def _on_error(request: Request, error: Exception) -> Response:
    return answer_error(error, request.scope)


def _field_of(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location[1:]) or str(location[0])


async def _on_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = error.errors()
    if any(fault["type"] == "json_invalid" for fault in faults):
        reason = faults[0].get("ctx", {}).get("error", "not JSON")
        return answer_refusal(MalformedJson(reason, str(faults[0]["loc"][0])))
    errors = [
        {"field": _field_of(fault["loc"]), "problem": said_of(fault), "in": str(fault["loc"][0])}
        for fault in faults
    ]
    detail = "; ".join(f"{e['field']}: {e['problem']}" for e in errors[:5])
    return _plain(422, "invalid-request", "The request can be read but is wrong", detail, errors=errors)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    cause = error.__cause__
    if isinstance(cause, UnicodeDecodeError) and "json" in request.headers.get("content-type", ""):
        return answer_refusal(MalformedJson(f"byte {cause.start} is no UTF-8"))
    phrase = HTTPStatus(error.status_code).phrase
    answer = _plain(error.status_code, phrase.lower().replace(" ", "-"), phrase, str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


def _answer_defect(error: Exception, scope: Scope) -> Response:
    request_id = scope.get("state", {}).get("request_id")
    log.error("unplanned_error", path=scope["path"], request_id=request_id, exc_info=error)
    return _plain(
        500,
        "internal-error",
        "Something went wrong here",
        "The log has it under this request id.",
        request_id=request_id,
    )


def _plain(status: int, name: str, heading: str, detail: str, **members: Any) -> Response:
    return _answer(
        {**members, "type": f"/problems/{name}", "title": heading, "status": status, "detail": detail}
    )


def answer_errors_with_problems(app: FastAPI) -> None:
    """Turn everything that an application raises into problem documents."""
    app.add_exception_handler(Refusal, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    for kind in (DBAPIError, PoolTimeout, OSError, *RAISED_BY_DRIVER):
        app.add_exception_handler(kind, _on_error)
    app.add_exception_handler(Exception, _on_error)


def problems(*kinds: type[Refusal]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that may refuse in these ways."""
    by_status: dict[int | str, list[str]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(f"[{title(kind)}](/problems/{slug(kind)})")
    return {
        status: {"description": "; ".join(texts), "content": {MEDIA_TYPE: {}}}
        for status, texts in by_status.items()
    }


def known_problems() -> Iterator[tuple[str, int, str, str]]:
    """Slug, status, title and description of every kind of problem that this service can answer."""
    for kind in sorted(set(kinds_of_refusal()), key=lambda kind: (kind.status, slug(kind))):
        yield slug(kind), kind.status, title(kind), (kind.__doc__ or "").partition("\n")[2].strip()
    yield (
        "invalid-request",
        422,
        "The request can be read but is wrong",
        (
            "Fields are missing, not known here, or wrong. `errors` tells of each: the `field`, its `problem`, and by `in` "
            "where it stands (`path`, `query`, `header`, `body`, or `metadata` in the form of a registration)."
        ),
    )
    yield (
        "internal-error",
        500,
        "Something went wrong here",
        "A defect of this service, or something that nobody foresaw. What it was is told in the log alone.",
    )
