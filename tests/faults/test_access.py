"""Access (S3): every route × method × role, as the application itself lists them, lets in whom it declares and nobody else."""

import asyncio
import re
from contextlib import suppress
from uuid import UUID, uuid4

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy import func, select
from starlette.routing import Mount

from app.core.access import Role, allows, anyone, declared_role, require_declared_roles
from app.core.config import Settings
from app.core.database import Database
from app.core.facts import FactRow
from app.core.keys import make_key, revoke_key
from app.main import create_app
from tests.conftest import TESTER, run_sql, with_database

UNKNOWN_KEY = "sy_00000000_" + "0" * 64

SCOPE = {"type": "http", "http_version": "1.1", "scheme": "http", "root_path": "", "query_string": b""}


def doors(app, prefix=""):
    """Every method of every path, with the role that it declares."""
    for route in iter_route_contexts(app.routes):
        inner = route.original_route
        if isinstance(inner, Mount) and isinstance(inner.app, FastAPI):
            yield from doors(inner.app, prefix + inner.path)
        elif isinstance(inner, APIRoute):
            for method in sorted(route.methods):
                yield pytest.param(
                    method, prefix + route.path, declared_role(route).role, id=f"{method} {route.path}"
                )


DOORS = list(doors(create_app(Settings(database_url="postgresql://nobody@localhost/none"))))
LOCKED = [door for door in DOORS if door.values[2] is not None]
OPEN = [door for door in DOORS if door.values[2] is None]
RAISED = [door for door in LOCKED if door.values[2] > Role.VIEWER]
MODELS = [door for door in LOCKED if "{model_id}" in door.values[1]]


def concrete(path):
    """A path with something in the place of each parameter."""

    def fill(parameter):
        return "hidden" if parameter[1] == "model_id" else str(UUID(int=7 << 76 | 2 << 62))

    return re.sub(r"{(\w+)(?::\w+)?}", fill, path)


class Service:
    """The whole application on a database of its own, and a key of each role."""

    def __init__(self, app, database):
        self.app, self.database, self.keys = app, database, {}

    async def make_keys(self):
        async with self.database.writes(TESTER) as session:
            for role in Role:
                made = await make_key(session, name=role.label, role=role)
                self.keys[role] = made.text
            limited = await make_key(session, name="limited", role=Role.ADMIN, models=["visible-*"])
            revoked = await make_key(session, name="revoked", role=Role.ADMIN)
            await revoke_key(session, revoked.row.id)
        self.keys |= {"limited": limited.text, "revoked": revoked.text}
        await self.app.state.authenticate.refresh()

    async def status(self, method, path, authorization=None):
        """How a request with an empty body is answered; only the head is waited for, since streams have no end."""
        head = asyncio.get_running_loop().create_future()
        headers = [(b"host", b"localhost")]
        headers += [(b"authorization", authorization.encode())] if authorization is not None else []
        scope = SCOPE | {"method": method, "path": concrete(path), "headers": headers, "state": {}}

        body = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive():
            return body.pop() if body else await asyncio.Event().wait()  # nobody hangs up

        async def send(message):
            if message["type"] == "http.response.start":
                head.set_result(message["status"])

        answering = asyncio.create_task(self.app(scope, receive, send))
        await asyncio.wait([answering, head], timeout=20, return_when=asyncio.FIRST_COMPLETED)
        answering.cancel()
        with suppress(asyncio.CancelledError):
            await answering
        return head.result()

    async def facts(self):
        async with self.database.reads() as session:
            return await session.scalar(select(func.count()).select_from(FactRow))


@pytest.fixture(scope="module")
async def service(postgres_url, template, tmp_path_factory):
    name = f"test_{uuid4().hex[:12]}"
    await run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    url = with_database(postgres_url, name)
    database = Database(url)
    base_path = tmp_path_factory.mktemp("access")
    app = create_app(Settings(database_url=url.replace("+asyncpg", ""), base_path=base_path))
    async with app.router.lifespan_context(app):
        service = Service(app, database)
        await service.make_keys()
        yield service
    await database.close()
    await run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(autouse=True)
async def nothing_changed(request):
    """A request that was refused has changed nothing."""
    if "service" not in request.fixturenames:
        yield
        return
    service = request.getfixturevalue("service")
    before = await service.facts()
    yield
    assert await service.facts() == before


@pytest.mark.parametrize(("method", "path", "role"), LOCKED)
async def test_without_a_valid_key_every_route_answers_401(service, method, path, role):
    for authorization in (
        None,
        "",
        "Bearer",
        "Bearer nonsense",
        f"Bearer {UNKNOWN_KEY}",
        f"Bearer {service.keys['revoked']}",
        f"Basic {service.keys[Role.ADMIN]}",
    ):
        assert await service.status(method, path, authorization) == 401, authorization


@pytest.mark.parametrize(("method", "path", "role"), RAISED)
async def test_a_role_too_low_answers_403(service, method, path, role):
    for lower in Role:
        if lower < role:
            assert await service.status(method, path, f"Bearer {service.keys[lower]}") == 403, lower


@pytest.mark.parametrize(("method", "path", "role"), LOCKED)
async def test_the_declared_role_and_those_above_are_let_in(service, method, path, role):
    for enough in Role:
        if enough >= role:
            status = await service.status(method, path, f"Bearer {service.keys[enough]}")
            assert status not in {401, 403}, enough
            assert status < 500, enough


@pytest.mark.parametrize(("method", "path", "role"), MODELS)
async def test_a_model_outside_the_keys_scope_does_not_exist_on_any_route(service, method, path, role):
    assert await service.status(method, path, f"Bearer {service.keys['limited']}") == 404


@pytest.mark.parametrize(("method", "path", "role"), OPEN)
async def test_what_is_for_anyone_asks_for_no_key(service, method, path, role):
    assert await service.status(method, path) not in {401, 403}


def silent_app(silent):
    """An application with one route that says who may call it, and `silent`, which doesn't, in an included router."""
    router = APIRouter()
    router.add_api_route("/open", lambda: None, dependencies=[anyone()])
    router.add_api_route("/locked", lambda: None, dependencies=[allows(Role.ADMIN)])
    if silent:
        router.add_api_route(silent, lambda: None)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(router, prefix="/api")
    return app


def test_a_route_that_does_not_say_who_may_call_it_stops_the_start():
    require_declared_roles(silent_app(None))
    with pytest.raises(RuntimeError, match="/api/silent"):
        require_declared_roles(silent_app("/silent"))


def test_a_silent_route_of_a_mounted_application_stops_the_start_too():
    app = silent_app(None)
    app.mount("/door", silent_app("/silent"))
    with pytest.raises(RuntimeError, match="silent"):
        require_declared_roles(app)
