"""The edge of a room: one request is one transaction, opened and committed around the endpoint.

`ChangingRoute` commits after the endpoint's answer was built and before a byte of it is sent, so a failed
commit can't follow a 200. `Writes` and `Reads` are the sessions that endpoints ask for; neither takes a
connection before its first statement. An endpoint with long work to do before its change asks for `Begins`, and
calls it when that is done: no transaction waits for the work, and an `Idempotency-Key` is looked up before it
and claimed after it. What must happen once the change is visible (waiting for replicas, say) is left with
`after_commit`.
"""

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from functools import cached_property, partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Query as QueryParameter
from fastapi.routing import APIRoute
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.core.access import Allows, caller_of, declared_role
from app.core.database import Database, Reading
from app.core.idempotency import HEADER, Receipt, Replayed, fingerprint_of
from app.core.limits import TextUnstorable
from app.core.wire import say_what_is_known

AfterCommit = Callable[[], Awaitable[Any]]
Shortcut = Callable[[Request], Awaitable[Response | None]]
Begin = Callable[[], Awaitable[AsyncSession]]
_Answer = TypeVar("_Answer", Response, Response | None)
_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


async def _given_database(request: Request) -> Database:  # FastAPI runs what is not `async` in a thread
    return _database(request)


async def _writing(request: Request) -> AsyncSession:
    stack: AsyncExitStack = request.state.transaction
    actor = caller_of(request).actor(request.scope["state"].get("request_id"))
    session = await stack.enter_async_context(_database(request).writes(actor))
    request.state.session = session
    if not _is_upload(request):
        await claim_receipt(request, session, await request.body())
    return session


async def _reading(request: Request) -> Reading:
    stack: AsyncExitStack = request.state.transaction
    return await stack.enter_async_context(_database(request).reads())


async def begin_later(request: Request) -> Begin:
    """What `Begins` gives; a key that was used already is answered for at once."""
    if HEADER in request.headers:
        receipt, fingerprint = _receipt_of(request, await request.body())
        async with _database(request).reads() as session:
            await receipt.require_unused(session, fingerprint)
    return partial(_writing, request)


Writes = Annotated[AsyncSession, Depends(_writing)]
Begins = Annotated[Begin, Depends(begin_later)]
Reads = Annotated[Reading, Depends(_reading)]
Db = Annotated[Database, Depends(_given_database)]


async def claim_receipt(request: Request, session: AsyncSession, identity: bytes) -> None:
    """Make sure that a request with an `Idempotency-Key` is worked on once; `identity` is what it asks for.

    `Writes` does this with the body. The endpoint of an upload does it itself, once it knows what has arrived.

    Raises:
        UnusableKey, FirstStillRunning, KeyUsedDifferently: see `Receipt.claim`.
        Replayed: it was answered before.
    """
    if HEADER not in request.headers or hasattr(request.state, "receipt"):
        return
    receipt, fingerprint = _receipt_of(request, identity)
    await receipt.claim(session, fingerprint)
    request.state.receipt = (receipt, fingerprint)


def _receipt_of(request: Request, identity: bytes) -> tuple[Receipt, bytes]:
    receipt = Receipt.read(caller_of(request).name, request.headers[HEADER])
    return receipt, fingerprint_of(request.method, request.url.path, request.url.query.encode(), identity)


def _is_upload(request: Request) -> bool:
    return request.headers.get("content-type", "").strip().lower().startswith("multipart/")


def after_commit(request: Request, action: AfterCommit) -> None:
    """Run `action` once the change is committed; a response that it returns replaces the endpoint's."""
    request.state.after_commit = action


def shortcut(way: Shortcut) -> Callable[[_Endpoint], _Endpoint]:
    """Let `way` answer what it can of an endpoint's requests, once its caller is let in; None leaves one to the endpoint.

    For requests that come so often that solving the endpoint's dependencies would cost more than the answer. A change
    is made `in_transaction`; the way may read the body, for the endpoint gets it again.
    """

    def with_shortcut(endpoint: _Endpoint) -> _Endpoint:
        endpoint.__dict__["shortcut"] = way
        return endpoint

    return with_shortcut


def in_transaction(
    handle: Callable[[Request], Awaitable[_Answer]],
) -> Callable[[Request], Coroutine[Any, Any, _Answer | Response]]:
    """A handler with its transaction, receipt and follow-up around it; one that has no answer has changed nothing."""

    async def handle_in_transaction(request: Request) -> _Answer | Response:
        _refuse_unstorable_address(request.scope)
        try:
            async with AsyncExitStack() as stack:
                request.state.transaction = stack
                answer = await handle(request)
                await _fill_receipt(request, answer)
        except Replayed as replay:
            return replay.answer
        return await _follow_up(request, answer)

    return handle_in_transaction


API = "/api"
"""What every address of a room begins with; `/api/v1` leads to the same routes."""


class TransactionRoute(APIRoute):
    """A route whose endpoint runs in at most one transaction."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint's handler in its transaction."""
        return in_transaction(super().get_route_handler())

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by the endpoint's shortcut, or else by all that FastAPI does for a request."""
        scope["route_template"] = (
            API + self.path
        )  # FastAPI's route does not know the prefix under which it is included
        if scope["query_string"] and scope["method"] in (self.methods or ()):
            await self._refuse_unknown_parameters(Request(scope, receive))
        answer = None
        if self._shortcut is not None and scope["method"] in (self.methods or ()):
            receive = _Rereadable(receive)
            answer = await self._answer_shortly(self._shortcut, Request(scope, receive))
            receive.rewind()
        await (answer or super().handle)(scope, receive, send)

    async def _answer_shortly(self, way: Shortcut, request: Request) -> Response | None:
        _refuse_unstorable_address(request.scope)
        if self._allows is not None:
            await self._allows(request)
        return await way(request)

    async def _refuse_unknown_parameters(self, request: Request) -> None:
        """Refuse, to whoever may call this, a parameter that would be ignored: it is most often a misspelt one."""
        unknown = [name for name in request.query_params if name not in self._parameters]
        if not unknown:
            return
        if self._allows is not None:
            await self._allows(request)
        raise RequestValidationError(
            [_fault_of(name, say_what_is_known(name, self._parameters)) for name in unknown]
        )

    @cached_property
    def _parameters(self) -> frozenset[str]:
        """What an address may ask for after the `?`."""
        asked = get_flat_params(self.dependant)
        return frozenset(field.alias for field in asked if isinstance(field.field_info, QueryParameter))

    @cached_property
    def _shortcut(self) -> Shortcut | None:
        return getattr(self.endpoint, "shortcut", None)

    @cached_property
    def _allows(self) -> Allows | None:
        return declared_role(self)


def _fault_of(parameter: str, problem: str) -> dict[str, Any]:
    return {"type": "unknown_parameter", "loc": ("query", parameter), "msg": problem}


class _Rereadable:
    """What a client sends, which can be received again from the beginning."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._received: list[Message] = []
        self._again: list[Message] = []

    def rewind(self) -> None:
        """Have everything received again that was received until now."""
        self._again = self._received[::-1]

    async def __call__(self) -> Message:
        if self._again:
            return self._again.pop()
        message = await self._receive()
        self._received.append(message)
        return message


def _refuse_unstorable_address(scope: Scope) -> None:
    """Keep U+0000 out of every path and query parameter; half of a surrogate pair can't come in percent-encoding."""
    for where, unstorable in (("path", "\0" in scope["path"]), ("query", b"%00" in scope["query_string"])):
        if unstorable:
            raise TextUnstorable(where)


async def _fill_receipt(request: Request, answer: Response | None) -> None:
    claimed: tuple[Receipt, bytes] | None = getattr(request.state, "receipt", None)
    if claimed and answer:
        receipt, fingerprint = claimed
        await receipt.fill(request.state.session, fingerprint, answer)


async def _follow_up(request: Request, answer: _Answer) -> _Answer | Response:
    action: AfterCommit | None = getattr(request.state, "after_commit", None)
    replacement = await action() if action else None
    return replacement if isinstance(replacement, Response) else answer


def room(prefix: str, tag: str) -> APIRouter:
    """The router of a room."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=TransactionRoute)
