"""What an operation of these doors declares: its path, who may ask for it, and what answers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.core.access import Allows, Role
from app.inference.shapes import Shown

Act = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Operation:
    """One operation of a door.

    Attributes:
        method: of HTTP; whoever may GET may HEAD.
        path: a template in Starlette's terms; `{model_id}` is a model reference, and a key must cover that model.
        role: the least that a caller needs; None lets anyone in.
        act: what answers.
        shown: how the API's description tells of it; None when it is left out there.
    """

    method: str
    path: str
    role: Role | None
    act: Act
    shown: Shown | None = None

    def route(self) -> Route:
        """What leads to this operation, and lets in whom it declares."""
        allows = Allows(self.role)

        async def answer(request: Request) -> Response:
            request.scope["route_template"] = self.path
            await allows(request)
            return await self.act(request)

        return Route(self.path, answer, methods=[self.method])
