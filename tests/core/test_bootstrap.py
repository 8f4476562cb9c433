"""S3: a service that others can reach starts only with a way in for its admin, and without sample secrets."""

import asyncio
import stat

import pytest

from app.core.access import Role
from app.core.authenticate import Authenticator
from app.core.bootstrap import FIRST_KEY, KeyFileExists, NoWayIn, SampleSecret, require_a_way_in
from app.core.config import Settings
from app.core.keys import list_unrevoked_keys, make_key
from app.core.notify import Notifications
from app.core.secrets import load_secrets
from tests.conftest import TESTER

ELSEWHERE = {"host": "0.0.0.0"}
PROXIED = {"allowed_hosts": ("models.example.org",)}
PROVIDER = {
    "oidc_issuer": "https://id.example",
    "oidc_audience": "us",
    "oidc_jwks": "https://id.example/keys",
}


async def keys_in(database):
    async with database.reads() as session:
        return [(row.name, row.role) for row in await list_unrevoked_keys(session)]


async def test_serving_this_machine_only_needs_no_key(database):
    await require_a_way_in(Settings(), database)
    assert await keys_in(database) == []


@pytest.mark.parametrize("reach", [ELSEWHERE, PROXIED])
async def test_a_service_that_others_can_reach_does_not_start_without_a_way_in(database, reach):
    with pytest.raises(NoWayIn, match="SWITCHYARD_BOOTSTRAP_KEY_FILE"):
        await require_a_way_in(Settings(**reach), database)


@pytest.mark.parametrize("reach", [ELSEWHERE, PROXIED])
async def test_an_identity_provider_is_a_way_in(database, reach):
    await require_a_way_in(Settings(**reach, **PROVIDER), database)


async def test_an_admin_key_is_a_way_in_and_an_operator_key_is_none(database):
    async with database.writes(TESTER) as session:
        await make_key(session, name="operator", role=Role.OPERATOR)
    with pytest.raises(NoWayIn):
        await require_a_way_in(Settings(**ELSEWHERE), database)
    async with database.writes(TESTER) as session:
        await make_key(session, name="admin", role=Role.ADMIN)
    await require_a_way_in(Settings(**ELSEWHERE), database)


@pytest.mark.parametrize("reach", [{}, ELSEWHERE])
async def test_the_first_admin_key_is_written_once_to_a_private_file(database, tmp_path, reach):
    settings = Settings(**reach, bootstrap_key_file=tmp_path / "key")
    for _ in range(2):
        await require_a_way_in(settings, database)
    assert await keys_in(database) == [(FIRST_KEY, Role.ADMIN)]
    file = tmp_path / "key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    async with Authenticator(settings, database, Notifications(database.url)) as authenticate:
        caller = await authenticate({"x-api-key": file.read_text().strip()})
    assert caller.role is Role.ADMIN


async def test_replicas_that_start_together_write_one_first_key(database, tmp_path):
    settings = Settings(**ELSEWHERE, bootstrap_key_file=tmp_path / "key")
    await asyncio.gather(*[require_a_way_in(settings, database) for _ in range(4)])
    assert await keys_in(database) == [(FIRST_KEY, Role.ADMIN)]


@pytest.mark.parametrize("kind", ["file", "link"])
async def test_a_file_that_is_there_already_is_neither_read_nor_replaced(database, tmp_path, kind):
    path = tmp_path / "key"
    if kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileExists, match="Move it away"):
        await require_a_way_in(Settings(**ELSEWHERE, bootstrap_key_file=path), database)
    assert await keys_in(database) == []
    assert not (tmp_path / "elsewhere").exists()


async def test_a_key_that_could_not_be_kept_leaves_no_file(database, tmp_path):
    async with database.writes(TESTER) as session:
        await make_key(session, name=FIRST_KEY, role=Role.VIEWER)
    with pytest.raises(Exception, match="revoke or rotate"):
        await require_a_way_in(Settings(**ELSEWHERE, bootstrap_key_file=tmp_path / "key"), database)
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize(
    "sample",
    [
        {"database_url": "postgresql://app:postgres@db/app"},
        {"database_url": "postgresql://app:Change%4de@db/app"},
        {"redis_url": "redis://:secret@cache/0"},
    ],
)
async def test_a_password_out_of_a_manual_is_refused_where_others_can_reach_the_service(
    database, sample, tmp_path
):
    variable = "ML_DATABASE_URL" if "database_url" in sample else "ML_REDIS_URL"
    with pytest.raises(SampleSecret, match=variable):
        await require_a_way_in(Settings(**ELSEWHERE, **sample, bootstrap_key_file=tmp_path / "key"), database)
    await require_a_way_in(Settings(**sample), database)


async def test_the_services_own_keys_are_the_same_for_replicas_that_start_together(database):
    found = await asyncio.gather(*[load_secrets(database) for _ in range(5)])
    assert len(set(found)) == 1
    assert len(found[0].cursors) == 32
    assert found[0].cursors != found[0].sessions
    assert await load_secrets(database) == found[0]
    assert repr(found[0]) == "Secrets()"
