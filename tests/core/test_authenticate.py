"""S3: a caller is known by key, from memory, whether the database is there or not; access by bad keys is refused."""

import asyncio
import base64
import time
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from sqlalchemy import event
from starlette.datastructures import Headers

from app.core import clock, keyring
from app.core.access import Caller, NoCredentials, Role
from app.core.authenticate import LOCAL_ADMIN, Authenticator, BadCredentials, read_credential
from app.core.config import Settings
from app.core.database import Database
from app.core.keys import make_key, revoke_key
from app.core.notify import Notifications
from app.core.problems import DatabaseAway
from tests.conftest import TESTER, run_sql


def bearer(key):
    return Headers({"Authorization": f"Bearer {key}"})


@asynccontextmanager
async def authenticating(database, **settings):
    """A replica's authenticator with its notifications connected."""
    notifications = Notifications(database.url)
    async with Authenticator(Settings(**settings), database, notifications) as authenticate, notifications:
        await asyncio.wait_for(notifications.connected.wait(), 5)
        yield authenticate


async def new_key(database, name="checkout", role=Role.CALLER, **options):
    async with database.writes(TESTER) as session:
        return await make_key(session, name=name, role=role, **options)


async def revoke(database, key):
    async with database.writes(TESTER) as session:
        await revoke_key(session, key.row.id)


async def eventually(condition, seconds=2.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def test_a_key_is_taken_as_bearer_as_basic_password_and_in_its_own_header(database):
    key = await new_key(database, models=["churn-*"])
    basic = base64.b64encode(f"anyone:{key.text}".encode()).decode()
    async with authenticating(database) as authenticate:
        for headers in (
            {"Authorization": f"Bearer {key.text}"},
            {"authorization": f"bearer {key.text}"},
            {"Authorization": f"Basic {basic}"},
            {"X-API-Key": key.text},
        ):
            assert await authenticate(Headers(headers)) == Caller("checkout", Role.CALLER, ("churn-*",))


def spoilt(key):
    prefix, secret = key[:12], key[12:]
    yield from (prefix + "0" * 64, prefix + secret[:-1], key + "0", key.upper(), "sy_00000000_" + secret)
    yield from ("", "sy_", "x", "é", "\udcff", "null", "Bearer", prefix, secret)


async def test_every_spoilt_key_gets_the_same_answer(database):
    key = await new_key(database)
    async with authenticating(database) as authenticate:
        for text in spoilt(key.text):
            with pytest.raises(BadCredentials) as refused:
                await authenticate({"authorization": f"Bearer {text}"})
            assert str(refused.value) == str(BadCredentials())
            assert refused.value.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["", "Basic", "Basic !!", "Basic YQ==", "Digest a", "Bearer", "Basic é"])
async def test_a_header_that_can_not_be_read_opens_nothing(database, header):
    async with authenticating(database) as authenticate:
        with pytest.raises(BadCredentials):
            await authenticate({"authorization": header})


async def test_without_any_key_whoever_is_at_this_machine_is_its_admin(database):
    async with authenticating(database) as authenticate:
        assert await authenticate(Headers()) == LOCAL_ADMIN
        assert authenticate.known(None) == LOCAL_ADMIN
        await new_key(database, role=Role.VIEWER)
        await eventually(lambda: authenticate.known(None) is None)
        with pytest.raises(NoCredentials):
            await authenticate(Headers())


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "0.0.0.0"},
        {"allowed_hosts": ("models.example.org",)},
        {"oidc_issuer": "https://id.example", "oidc_audience": "us", "oidc_jwks": "/nowhere"},
    ],
)
async def test_nobody_is_the_local_admin_of_a_service_that_others_can_reach(database, settings):
    async with authenticating(database, **settings) as authenticate:
        assert authenticate.known(None) is None
        with pytest.raises(NoCredentials):
            await authenticate(Headers())


async def test_a_key_made_by_another_replica_works_at_once(database):
    async with authenticating(database) as authenticate:
        for i in range(3):
            key = await new_key(database, f"key-{i}")
            assert (await authenticate(bearer(key.text))).name == f"key-{i}"


async def test_a_revoked_key_stops_working_on_every_replica_within_a_second(database):
    key, _other = await new_key(database), await new_key(database, "other")
    header = f"Bearer {key.text}".encode()
    async with authenticating(database) as one, authenticating(database) as two:
        assert one.known(header) == two.known(header) == Caller("checkout", Role.CALLER)
        await revoke(database, key)
        await eventually(lambda: one.known(header) is None and two.known(header) is None, seconds=1)
        with pytest.raises(BadCredentials):
            await one(bearer(key.text))


async def test_a_lost_notification_delays_a_revocation_by_no_more_than_the_refresh(database, monkeypatch):
    monkeypatch.setattr(keyring, "REFRESH_SECONDS", 0.1)
    key = await new_key(database)
    async with Authenticator(Settings(), database, Notifications(database.url)) as authenticate:
        await revoke(database, key)
        await eventually(lambda: authenticate.known(f"Bearer {key.text}".encode()) is None, seconds=1)


async def test_an_expired_key_stops_working_but_does_not_open_the_door_to_everyone(database, monkeypatch):
    tomorrow = clock.now() + timedelta(days=1)
    key = await new_key(database, expires_at=tomorrow)
    async with authenticating(database) as authenticate:
        assert authenticate.known(f"Bearer {key.text}".encode())
        monkeypatch.setattr(clock, "now", lambda: tomorrow)
        assert authenticate.known(f"Bearer {key.text}".encode()) is None
        with pytest.raises(BadCredentials):
            await authenticate(bearer(key.text))
        with pytest.raises(NoCredentials):
            await authenticate(Headers())


async def test_known_keys_work_while_the_database_is_away_and_unknown_ones_can_not_be_judged(
    database, postgres_url
):
    key = await new_key(database)
    name = database.url.rsplit("/", 1)[1].partition("?")[0]
    impatient = Database(database.url, pool_timeout=1)
    async with authenticating(impatient) as authenticate:
        await run_sql(postgres_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await run_sql(
            postgres_url,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )
        assert (await authenticate(bearer(key.text))).name == "checkout"
        with pytest.raises(DatabaseAway):
            await authenticate(bearer("sy_00000000_" + "0" * 64))
        await run_sql(postgres_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        with pytest.raises(BadCredentials):
            await authenticate(bearer("sy_00000000_" + "0" * 64))
    await impatient.close()


async def test_a_flood_of_wrong_keys_costs_a_few_queries(database):
    await new_key(database)
    async with authenticating(database) as authenticate:
        queries = 0

        def count(*_args):
            nonlocal queries
            queries += 1

        event.listen(database.reading_engine.sync_engine, "before_cursor_execute", count)
        wrong = [authenticate(bearer(f"sy_{i:08x}_" + "0" * 64)) for i in range(500)]
        outcomes = await asyncio.gather(*wrong, return_exceptions=True)
    assert all(isinstance(outcome, BadCredentials) for outcome in outcomes)
    assert queries <= 5


async def test_a_use_is_noted_without_a_write_per_request(database):
    key = await new_key(database)
    async with authenticating(database) as authenticate:
        for _ in range(100):
            authenticate.known(f"Bearer {key.text}".encode())
        await authenticate.refresh()
        await authenticate.refresh()
    async with database.reads() as session:
        row = await session.get_one(type(key.row), key.row.id)
        assert row.last_used_at is not None


def test_no_header_is_something_else_than_an_unreadable_one():
    assert read_credential({}) is None
    assert read_credential({"authorization": ""}) == b""
    assert read_credential({"x-api-key": " sy_1 "}) == b"sy_1"
