"""S3: admins make, list, rotate and revoke API keys over HTTP; the text of a key is answered once."""

from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.core import clock
from app.core.access import Role
from app.core.authenticate import Authenticator
from app.core.config import Settings
from app.core.database import Database
from app.core.keys import make_key
from app.core.notify import Notifications
from app.core.problems import answer_errors_with_problems
from app.core.secrets import load_secrets
from app.core.telemetry import RequestLog
from app.system import keys
from tests.conftest import TESTER

KEYS = "/api/system/keys"


@asynccontextmanager
async def serving(database, keys_from=None):
    """A replica that serves nothing but this room, and clients of it by their key."""
    service = FastAPI()
    answer_errors_with_problems(service)
    service.include_router(keys.router, prefix="/api")
    service.add_middleware(RequestLog)
    notifications = Notifications(database.url)
    async with AsyncExitStack() as stack:
        service.state.database = database
        service.state.secrets = await load_secrets(database)
        authenticator = Authenticator(Settings(), keys_from or database, notifications)
        service.state.authenticate = await stack.enter_async_context(authenticator)
        await stack.enter_async_context(notifications)

        async def client(key=None):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            transport = httpx.ASGITransport(service)
            opened = httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)
            return await stack.enter_async_context(opened)

        yield client


@pytest.fixture
async def client_of(database):
    async with serving(database) as client:
        yield client


@pytest.fixture
async def admin(client_of, database):
    async with database.writes(TESTER) as session:
        made = await make_key(session, name="root", role=Role.ADMIN)
    return await client_of(made.text)


async def make(client, name="checkout", role="caller", **order):
    answer = await client.post(KEYS, json={"name": name, "role": role, **order})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_key_is_answered_once_and_no_cache_keeps_it(admin):
    answer = await admin.post(KEYS, json={"name": "checkout", "role": "caller", "models": ["churn-*"]})
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    assert made["key"].startswith(f"{made['prefix']}_")
    assert made["made_by"] == "root"
    listed = await admin.get(KEYS)
    assert made["key"] not in listed.text
    assert made["id"] in listed.text


async def test_whoever_calls_can_ask_what_their_key_allows(admin, client_of):
    made = await make(admin, models=["churn-*"])
    caller = await client_of(made["key"])
    answer = await caller.get("/api/system/whoami")
    assert answer.json() == {"name": "checkout", "role": "caller", "models": ["churn-*"]}


async def test_without_keys_the_local_admin_makes_the_first_and_then_needs_it(client_of):
    nobody = await client_of()
    assert (await nobody.get("/api/system/whoami")).json()["name"] == "local"
    made = await make(nobody, "root", "admin")
    refused = await nobody.get("/api/system/whoami")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert (await (await client_of(made["key"])).get(KEYS)).status_code == 200


async def test_a_revoked_key_is_refused_at_once(admin, client_of):
    made = await make(admin)
    caller = await client_of(made["key"])
    assert (await caller.get("/api/system/whoami")).status_code == 200
    assert (await admin.delete(f"{KEYS}/{made['id']}")).status_code == 204
    assert (await caller.get("/api/system/whoami")).status_code == 401
    again = await admin.delete(f"{KEYS}/{made['id']}")
    assert (again.status_code, again.json()["type"]) == (404, "/problems/key-not-found")


async def test_a_rotated_key_replaces_the_old_one_at_once(admin, client_of):
    old = await make(admin, expires_at=(clock.now() + timedelta(days=7)).isoformat())
    answer = await admin.post(f"{KEYS}/{old['id']}/rotate")
    assert answer.headers["cache-control"] == "no-store"
    new = answer.json()
    assert (new["name"], new["role"]) == ("checkout", "caller")
    assert (await (await client_of(old["key"])).get("/api/system/whoami")).status_code == 401
    assert (await (await client_of(new["key"])).get("/api/system/whoami")).status_code == 200
    assert (await admin.post(f"{KEYS}/{uuid4()}/rotate")).status_code == 404


async def test_a_repeated_idempotency_key_makes_one_key_and_never_stores_its_text(admin, database):
    order = {"name": "checkout", "role": "caller"}
    first = await admin.post(KEYS, json=order, headers={"Idempotency-Key": "once"})
    again = await admin.post(KEYS, json=order, headers={"Idempotency-Key": "once"})
    assert again.status_code == 201
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json() | {"key": None}
    secret = first.json()["key"].removeprefix(f"{first.json()['prefix']}_")
    async with database.reads() as session:
        receipts = (await session.execute(text("SELECT convert_from(body, 'UTF8') FROM receipt"))).scalars()
        assert [secret in body for body in receipts] == [False]


async def test_keys_are_listed_page_by_page(admin):
    names = [f"key-{i}" for i in range(4)]
    for name in names:
        await make(admin, name)
    seen, cursor = [], None
    while True:
        answer = await admin.get(KEYS, params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        seen += [item["name"] for item in answer.json()["items"]]
        cursor = answer.json()["next"]
        if cursor is None:
            break
    assert seen == ["key-3", "key-2", "key-1", "key-0", "root"]


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"name": "a"},
        {"name": "a", "role": "root"},
        {"name": "a", "role": 4},
        {"name": "a", "role": "viewer", "models": "churn"},
        {"name": "a", "role": "viewer", "models": []},
        {"name": "a", "role": "viewer", "models": ["a\0"]},
        {"name": "a:b", "role": "viewer"},
        {"name": "local", "role": "viewer"},
        {"name": "a", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "a", "role": "viewer", "expires_at": "2999-01-01T00:00:00"},
        {"name": "a", "role": "viewer", "expires": "2999-01-01T00:00:00Z"},
    ],
)
async def test_an_order_that_can_not_be_met_is_refused_and_makes_nothing(admin, order):
    assert (await admin.post(KEYS, json=order)).status_code == 422
    assert len((await admin.get(KEYS)).json()["items"]) == 1


async def test_a_name_in_use_is_a_conflict(admin):
    await make(admin)
    answer = await admin.post(KEYS, json={"name": "checkout", "role": "viewer"})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/key-name-taken")


@pytest.mark.parametrize("role", ["viewer", "caller", "operator"])
async def test_only_admins_deal_in_keys(admin, client_of, role):
    made = await make(admin, role=role)
    other = await client_of(made["key"])
    for answer in (
        await other.get(KEYS),
        await other.post(KEYS, json={"name": "b", "role": "viewer"}),
        await other.post(f"{KEYS}/{made['id']}/rotate"),
        await other.delete(f"{KEYS}/{made['id']}"),
    ):
        assert (answer.status_code, answer.json()["has"]) == (403, role)


async def test_a_committed_key_is_answered_even_if_this_replica_can_not_read_it_back(database):
    """Its text exists nowhere else by then."""
    async with database.writes(TESTER) as session:
        root = await make_key(session, name="root", role=Role.ADMIN)
    exhausted = Database(database.url, pool_size=1, max_overflow=0, pool_timeout=0.2)
    async with serving(database, keys_from=exhausted) as client_of, exhausted.reading_engine.connect():
        assert (await make(await client_of(root.text)))["key"]
    await exhausted.close()
