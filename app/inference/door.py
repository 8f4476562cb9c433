"""The doors as one sub-application that stands in the way of requests, so that their paths are theirs to the last byte."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.datastructures import State
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.access import Allows, Role
from app.core.problems import answer_errors_with_problems


@dataclass(frozen=True)
class Operation:
    """One operation of a door.

    Attributes:
        method: of HTTP; whoever may GET may HEAD.
        path: a template in Starlette's terms; `{model_id}` is a model reference, and a key must cover that model.
        role: the least that a caller needs; None lets anyone in.
        act: what answers.
    """

    method: str
    path: str
    role: Role | None
    act: Callable[[Request], Awaitable[Response]]

    def route(self) -> Route:
        """What leads to this operation, and lets in whom it declares."""
        allows = Allows(self.role)

        async def answer(request: Request) -> Response:
            request.scope["route_template"] = self.path
            await allows(request)
            return await self.act(request)

        return Route(self.path, answer, methods=[self.method])


class Door:
    """ASGI middleware that answers the requests under its roots, and passes everything else on."""

    def __init__(
        self, app: ASGIApp, *, roots: tuple[str, ...], operations: Iterable[Operation], state: State
    ) -> None:
        self._app = app
        self._roots = roots
        self._door = FastAPI(
            routes=[operation.route() for operation in operations],
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )
        self._door.state = state
        answer_errors_with_problems(self._door)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, errors as the problem documents that `Reworded` turns into what clients of a door know."""
        is_ours = scope["type"] == "http" and is_under(self._roots, scope["path"])
        await (self._door if is_ours else self._app)(scope, receive, send)


def is_under(roots: tuple[str, ...], path: str) -> bool:
    """Whether a path is one of these roots, or below one.

    >>> is_under(("/v2",), "/v2/models"), is_under(("/v2",), "/v2beta")
    (True, False)
    """
    return path.startswith(roots) and any(path == root or path.startswith(f"{root}/") for root in roots)
