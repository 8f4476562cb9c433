"""D13, S3: who may ask for which operation, and that whatever refuses under a door's root says it in the door's words."""

from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest

from app.core.access import Role, RoleTooLow
from app.core.authenticate import BadCredentials
from app.core.config import Settings
from app.core.errors import MalformedJson
from app.core.keys import make_key
from app.core.problems import answer_refusal
from app.evidence.errors import SpoolFull
from app.inference.api import OPERATIONS
from app.inference.wording import Reworded
from app.registry.errors import ModelNotFound
from app.runtimes.errors import DeadlinePassed, EmptyBatch, ModelNotReady, QueueFull, TooManyRows
from tests import make
from tests.conftest import TESTER, client_of, run_sql, running, with_database

DECLARED = {
    "GET /v2": Role.VIEWER,
    "GET /v2/": Role.VIEWER,
    "GET /v2/health/live": None,
    "GET /v2/health/ready": None,
    "GET /v2/models/{model_id}": Role.VIEWER,
    "GET /v2/models/{model_id}/versions/{version}": Role.VIEWER,
    "GET /v2/models/{model_id}/ready": Role.VIEWER,
    "GET /v2/models/{model_id}/versions/{version}/ready": Role.VIEWER,
    "POST /v2/models/{model_id}/infer": Role.CALLER,
    "POST /v2/models/{model_id}/versions/{version}/infer": Role.CALLER,
    "POST /v2/repository/index": Role.VIEWER,
    "POST /v2/repository/models/{model_id}/load": Role.OPERATOR,
    "POST /v2/repository/models/{model_id}/unload": Role.OPERATOR,
    "POST /invocations": Role.CALLER,
    "GET /ping": None,
}
LOCKED = [operation for operation in OPERATIONS if operation.role is not None]
OPEN = [operation for operation in OPERATIONS if operation.role is None]
ABOUT_MODELS = [operation for operation in OPERATIONS if "{model_id}" in operation.path]


class Visitor:
    """A client that asks for operations with the keys of one service."""

    def __init__(self, client: httpx.AsyncClient, keys: dict[str, str]) -> None:
        self._client, self._keys = client, keys

    async def ask(self, operation, key=None):
        path = operation.path.format(model_id="hidden", version="1")
        return await self.request(operation.method, path, key)

    async def request(self, method, path, key=None, *, headers=None, **options):
        credentials = {"Authorization": f"Bearer {self._keys[key]}"} if key else {}
        return await self._client.request(method, path, headers=credentials | (headers or {}), **options)


@pytest.fixture(scope="module")
async def visitor(postgres_url, template, tmp_path_factory) -> AsyncIterator[Visitor]:
    name = f"test_{uuid4().hex[:12]}"
    await run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    url, base_path = with_database(postgres_url, name), tmp_path_factory.mktemp("doors")
    async with running(Settings(database_url=url, base_path=base_path, log_level="warning")) as service:
        async with service.state.database.writes(TESTER) as session:
            await make.version(session, "hidden")
            made = {role.label: await make_key(session, name=role.label, role=role) for role in Role}
            made["limited"] = await make_key(session, name="limited", role=Role.ADMIN, models=["visible-*"])
        await service.state.authenticate.refresh()
        async with client_of(service) as client:
            yield Visitor(client, {label: key.text for label, key in made.items()})


def label(operation):
    return f"{operation.method} {operation.path}"


def test_every_operation_declares_its_role():
    assert {label(operation): operation.role for operation in OPERATIONS} == DECLARED


@pytest.mark.parametrize("operation", LOCKED, ids=label)
async def test_nobody_gets_in_without_a_key(visitor, operation):
    answer = await visitor.ask(operation)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("operation", LOCKED, ids=label)
@pytest.mark.parametrize("role", list(Role))
async def test_a_role_gets_in_where_it_is_declared_and_nowhere_else(visitor, operation, role):
    answer = await visitor.ask(operation, role.label)
    assert (answer.status_code == 403) == (role < operation.role)
    assert answer.status_code != 401


@pytest.mark.parametrize("operation", OPEN, ids=label)
async def test_anybody_gets_in_where_no_role_is_declared(visitor, operation):
    assert (await visitor.ask(operation)).status_code == 200


@pytest.mark.parametrize("operation", ABOUT_MODELS, ids=label)
async def test_a_model_beyond_a_key_is_404(visitor, operation):
    unknown = {"error": "There is no model 'hidden'."}
    assert (await visitor.ask(operation, "admin")).json() != unknown
    answer = await visitor.ask(operation, "limited")
    assert (answer.status_code, answer.json()) == (404, unknown)


async def test_a_model_beyond_a_key_is_404_for_invocations(visitor):
    answer = await visitor.request(
        "POST", "/invocations?model=hidden:1", "limited", json={"instances": [[1, 2]]}
    )
    assert answer.status_code == 404
    assert answer.json() == {
        "error_code": "RESOURCE_DOES_NOT_EXIST",
        "message": "There is no model 'hidden'.",
    }


async def test_the_index_has_only_what_a_key_covers(visitor):
    seen = {key: await visitor.request("POST", "/v2/repository/index", key) for key in ("viewer", "limited")}
    assert [entry["name"] for entry in seen["viewer"].json()] == ["hidden"]
    assert seen["limited"].json() == []


@pytest.mark.parametrize("path", ["/v2/models/hidden:1/infer", "/invocations"])
async def test_what_middleware_refuses_is_in_the_words_of_the_door(visitor, path):
    shape = {"error"} if path.startswith("/v2") else {"error_code", "message"}
    foreign = await visitor.request("POST", path, headers={"Host": "elsewhere"})
    deep = await visitor.request("POST", path, "caller", content=b"[" * 100 + b"]" * 100)
    large = await visitor.request("POST", path, "caller", content=b" " * (33 * 1024 * 1024))
    cross_site = await visitor.request("POST", path, headers={"Origin": "http://elsewhere"})
    answers = [foreign, deep, large, cross_site]
    assert [answer.status_code for answer in answers] == [400, 413, 413, 403]
    assert all(answer.json().keys() == shape for answer in answers)
    assert all(int(answer.headers["content-length"]) == len(answer.content) for answer in answers)


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (MalformedJson("x"), 400, "BAD_REQUEST"),
        (EmptyBatch("x"), 400, "BAD_REQUEST"),
        (BadCredentials(), 401, "UNAUTHENTICATED"),
        (RoleTooLow("caller", "viewer"), 403, "PERMISSION_DENIED"),
        (ModelNotFound("x"), 404, "RESOURCE_DOES_NOT_EXIST"),
        (TooManyRows(2, 1), 413, "BAD_REQUEST"),
        (QueueFull(2, 1), 429, "REQUEST_LIMIT_EXCEEDED"),
        (ModelNotReady("x:1", "loading", ""), 503, "TEMPORARILY_UNAVAILABLE"),
        (DeadlinePassed(), 504, "DEADLINE_EXCEEDED"),
        (SpoolFull(1), 507, "RESOURCE_EXHAUSTED"),
    ],
)
async def test_every_kind_of_refusal_has_its_status_and_keeps_its_headers(refusal, status, code):
    transport = httpx.ASGITransport(Reworded(answer_refusal(refusal)))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        for path in ("/v2/models/m/infer", "/invocations"):
            answer = await client.post(path)
            assert answer.status_code == status
            assert [answer.headers[name] for name in refusal.headers] == list(refusal.headers.values())
        assert answer.json() == {"error_code": code, "message": str(refusal)}
