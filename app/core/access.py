"""Who may do what: roles, callers, and the declaration that every route must carry."""

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.routing import Mount, Route

from app.core.database import Actor
from app.core.errors import Forbidden, NotFound, Unauthenticated

_EVERY_MODEL = ("*",)


class Role(IntEnum):
    """What a caller may do; each role may do what those before it may."""

    VIEWER = 1
    CALLER = 2
    OPERATOR = 3
    ADMIN = 4

    @property
    def label(self) -> str:
        """The role's name on the wire."""
        return self.name.lower()


@dataclass(frozen=True)
class Caller:
    """Somebody whose identity was checked."""

    name: str
    role: Role
    models: tuple[str, ...] = _EVERY_MODEL

    def sees(self, model: str) -> bool:
        """Whether this caller's key covers a model, by the name patterns that it is limited to."""
        return self.models == _EVERY_MODEL or any(
            fnmatch.fnmatchcase(model, pattern) for pattern in self.models
        )

    def actor(self, request_id: str | None = None) -> Actor:
        """This caller as the one in whose name changes are made."""
        return Actor(self.name, self.role.label, request_id)


@dataclass(eq=False)
class RoleTooLow(Forbidden):
    """The caller's role does not allow this.

    Keys and tokens carry one of four roles: viewer, caller, operator, admin. The route needs a higher one than
    the caller has.
    """

    needed: str
    has: str

    def detail(self) -> str:
        return f"This needs the role {self.needed}; the key that was used has the role {self.has}."


@dataclass(eq=False)
class NoCredentials(Unauthenticated):
    """The request carries no key.

    This service wants to know who calls, by an API key or a token; the request brought neither.
    """

    def detail(self) -> str:
        return "Send an API key as `Authorization: Bearer <key>` (`switchyard keys create` makes one)."


@dataclass(eq=False)
class ModelNotFound(NotFound):
    """There is no such model.

    No model has this name, it was deleted, or the key is limited to other models: what a key may not see is not
    there for it.
    """

    model: str

    def detail(self) -> str:
        return f"There is no model {self.model!r}."


class Allows:
    """The dependency that declares a route's role, finds out who calls, and keeps others out."""

    def __init__(self, role: Role | None) -> None:
        self.role = role

    async def __call__(self, request: Request) -> Caller | None:
        """Let the caller in and remember it, or refuse."""
        if self.role is None:
            return None
        caller: Caller = await request.app.state.authenticate(request.headers)
        request.state.caller = caller
        admit(caller, self.role, request.path_params.get("model_id"))
        return caller


def admit(caller: Caller, role: Role, model_reference: str | None) -> None:
    """Refuse a caller whose role is too low, or whose key does not cover the model that is named.

    Raises:
        RoleTooLow, ModelNotFound.
    """
    if model_reference is not None:
        require_sight(caller, model_reference.partition("@")[0].partition(":")[0])
    if caller.role < role:
        raise RoleTooLow(role.label, caller.role.label)


def require_sight(caller: Caller, model: str) -> None:
    """Answer as if the model did not exist when the caller's key does not cover it.

    Raises:
        ModelNotFound: the key is limited to other models.
    """
    if not caller.sees(model):
        raise ModelNotFound(model)


def allows(role: Role) -> Any:
    """`dependencies=[allows(Role.OPERATOR)]`: the least role that a route asks for."""
    return Depends(Allows(role))


def anyone() -> Any:
    """The declaration of a route that needs no identity: probes, documentation."""
    return Depends(Allows(None))


def caller_of(request: Request) -> Caller:
    """Who was let in to this request."""
    caller: Caller = request.state.caller
    return caller


def _declared(dependant: Dependant) -> Iterator[Allows]:
    for sub in dependant.dependencies:
        if isinstance(sub.call, Allows):
            yield sub.call
        yield from _declared(sub)


def declared_role(route: APIRoute | RouteContext) -> Allows | None:
    """What a route says of who may call it."""
    return next(_declared(route.dependant), None)


def require_declared_roles(app: FastAPI) -> None:
    """Stop the start when a route says nothing of who may call it.

    Raises:
        RuntimeError: naming the routes.
    """
    silent = [route.path or "?" for route in all_routes(app) if not _declares_role(route)]
    if silent:
        raise RuntimeError(f"routes without a declared role: {', '.join(sorted(silent))}")


def _declares_role(route: RouteContext) -> bool:
    return isinstance(route.original_route, APIRoute) and declared_role(route) is not None


def all_routes(app: FastAPI) -> Iterator[RouteContext]:
    """Every route of an application, those of included routers and mounted applications too."""
    for route in iter_route_contexts(app.routes):
        inner = route.original_route
        if isinstance(inner, Mount) and isinstance(inner.app, FastAPI):
            yield from all_routes(inner.app)
        elif isinstance(inner, Route):
            yield route
