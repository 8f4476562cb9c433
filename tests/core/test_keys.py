"""S3: API keys are shown once, kept as a digest, limited by role, models and time, and revocable."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select

from app.core import clock
from app.core.access import Role
from app.core.database import take_last_steps
from app.core.errors import FieldProblem
from app.core.facts import FactRow
from app.core.keys import (
    ApiKey,
    KeyNameTaken,
    KeyNotFound,
    digest_of,
    has_admin_key,
    is_key,
    list_unrevoked_keys,
    make_key,
    note_uses,
    revoke_key,
    rotate_key,
    select_keys,
)
from tests.conftest import TESTER


@pytest.fixture
async def session(database):
    async with database.writes(TESTER) as session:
        yield session


async def facts_of(session):
    await take_last_steps(session)
    rows = (await session.scalars(select(FactRow).order_by(FactRow.id))).all()
    return [(row.kind, row.subject, row.actor) for row in rows]


async def test_a_key_is_kept_as_a_digest_and_never_as_its_text(session):
    made = await make_key(session, name="checkout", role=Role.CALLER)
    assert is_key(made.text.encode())
    assert made.text.startswith(made.row.prefix)
    assert made.row.digest == digest_of(made.text.encode())
    secret = made.text.removeprefix(f"{made.row.prefix}_")
    stored = [repr(getattr(made.row, column.key)) for column in ApiKey.__table__.columns]
    assert not any(secret in value for value in stored)
    assert secret not in repr(made)


async def test_making_and_revoking_a_key_are_facts_that_hold_no_secret(session):
    made = await make_key(session, name="checkout", role=Role.CALLER, models=["churn-*"])
    await revoke_key(session, made.row.id)
    assert await facts_of(session) == [
        ("KeyMade", "key:checkout", "tester"),
        ("KeyRevoked", "key:checkout", "tester"),
    ]
    bodies = (await session.scalars(select(FactRow.body))).all()
    assert bodies[0]["models"] == ["churn-*"]
    assert made.text.removeprefix(f"{made.row.prefix}_") not in repr(bodies)


async def test_a_name_is_free_again_once_its_key_is_revoked(session):
    first = await make_key(session, name="checkout", role=Role.CALLER)
    with pytest.raises(KeyNameTaken, match="rotate"):
        await make_key(session, name="checkout", role=Role.VIEWER)
    await revoke_key(session, first.row.id)
    second = await make_key(session, name="checkout", role=Role.VIEWER)
    assert [row.id for row in await list_unrevoked_keys(session)] == [second.row.id]


async def test_of_two_who_take_a_name_at_the_same_time_one_gets_it(database):
    async def take():
        async with database.writes(TESTER) as session:
            await make_key(session, name="checkout", role=Role.CALLER)

    outcomes = await asyncio.gather(*[take() for _ in range(5)], return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["KeyNameTaken"] * 4 + ["NoneType"]


async def test_a_key_is_revoked_once(session):
    made = await make_key(session, name="checkout", role=Role.CALLER)
    await revoke_key(session, made.row.id)
    for key_id in (made.row.id, uuid4()):
        with pytest.raises(KeyNotFound):
            await revoke_key(session, key_id)


async def test_a_rotated_key_keeps_name_role_models_and_lifetime(session):
    week = clock.now() + timedelta(days=7)
    old = await make_key(session, name="checkout", role=Role.CALLER, models=["a"], expires_at=week)
    new = await rotate_key(session, old.row.id)
    assert (new.row.name, new.row.role, new.row.models) == ("checkout", Role.CALLER, ["a"])
    assert new.text != old.text
    assert new.row.expires_at - new.row.made_at == pytest.approx(timedelta(days=7), abs=timedelta(seconds=1))
    assert [row.id for row in await list_unrevoked_keys(session)] == [new.row.id]


@pytest.mark.parametrize(
    "name",
    ["", " ", "-a", "a ", "a:b", "a\0b", "é", "a\nb", "x" * 65, "local", "Worker", "bootstrap", "\ud800"],
)
async def test_a_name_that_could_mislead_the_audit_trail_is_refused(session, name):
    with pytest.raises(FieldProblem, match="name"):
        await make_key(session, name=name, role=Role.VIEWER)


@pytest.mark.parametrize("models", [[], [""], ["a\0"], ["a/b"], ["x" * 129], ["a"] * 101])
async def test_a_pattern_that_can_match_no_model_is_refused(session, models):
    with pytest.raises(FieldProblem, match="models"):
        await make_key(session, name="a", role=Role.VIEWER, models=models)


async def test_a_key_can_not_be_born_expired(session):
    with pytest.raises(FieldProblem, match="expires_at"):
        await make_key(session, name="a", role=Role.VIEWER, expires_at=clock.now())


async def test_only_a_live_key_of_the_role_admin_is_an_admin_key(session, monkeypatch):
    assert not await has_admin_key(session)
    await make_key(session, name="operator", role=Role.OPERATOR)
    assert not await has_admin_key(session)
    tomorrow = clock.now() + timedelta(days=1)
    made = await make_key(session, name="admin", role=Role.ADMIN, expires_at=tomorrow)
    assert await has_admin_key(session)
    monkeypatch.setattr(clock, "now", lambda: tomorrow)
    assert not await has_admin_key(session)
    monkeypatch.undo()
    await revoke_key(session, made.row.id)
    assert not await has_admin_key(session)


async def test_uses_are_noted_to_five_minutes(session, monkeypatch):
    made = await make_key(session, name="a", role=Role.VIEWER)
    first = clock.now()

    async def use_after(minutes):
        monkeypatch.setattr(clock, "now", lambda: first + timedelta(minutes=minutes))
        await note_uses(session, [made.row.id])
        await session.refresh(made.row)
        return made.row.last_used_at - first

    assert [await use_after(minutes) for minutes in (0, 4, 6)] == [
        timedelta(0),
        timedelta(0),
        timedelta(minutes=6),
    ]


async def test_keys_are_paged_newest_first(session):
    rows = [(await make_key(session, name=f"key-{i}", role=Role.VIEWER)).row for i in range(3)]
    first = (await session.scalars(select_keys(None, 1))).all()
    rest = (await session.scalars(select_keys(str(first[0].id), 5))).all()
    assert sorted(row.name for row in [first[0], *rest]) == [row.name for row in rows]
    assert [row.id for row in rest] == sorted((row.id for row in rest), reverse=True)
