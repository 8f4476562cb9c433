"""M1, M8: old profiles are added up, exactly, once, and windows over them say the same."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import text

from app.core import clock
from app.evidence.profiles import Counted, Place, add_to_profile
from app.evidence.rollups import STEPS, roll_up_day, roll_up_profiles
from app.evidence.windows import find_reference, read_window
from app.runtimes.profiles import Answered
from tests import make
from tests.conftest import TESTER
from tests.monitoring.making import plan_of

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TEN_HOURS = [NOON + i * timedelta(minutes=5) for i in range(120)]


@pytest.fixture
async def filled(database):
    """A version with two spools' rows in ten hours, of two arms and a shadow."""
    async with database.writes(TESTER) as session:
        version = await make.version(session)
    plan, generator = await plan_of(database, version), np.random.default_rng(7)
    for bucket in TEN_HOURS:
        async with database.writes(TESTER) as session:
            for arm, shadow, spool in (
                ("a", False, "one"),
                ("a", False, "two"),
                ("b", False, "one"),
                ("b", True, "one"),
            ):
                rows = generator.normal(size=(2, 3))
                counted = Counted(3, plan.profile(Answered(list(rows))))
                await add_to_profile(
                    session, Place(version.id, bucket, "production", arm, shadow), spool, counted
                )
    return version


async def window_of(database, version, arm=None, since=NOON, until=NOON + timedelta(hours=10)):
    async with database.reads() as session:
        reference = await find_reference(session, version.id)
        return await read_window(
            session, reference, environment="production", since=since, until=until, arm=arm
        )


async def spans(database):
    async with database.reads() as session:
        rows = await session.execute(
            text("SELECT minutes, shadow, count(*), sum(rows) FROM live_profile GROUP BY 1, 2 ORDER BY 1, 2")
        )
        return [tuple(row) for row in rows]


def at(monkeypatch, days):
    monkeypatch.setattr(clock, "now", lambda: NOON + timedelta(days=days))


async def test_a_month_is_kept_by_five_minutes(database, filled, monkeypatch):
    at(monkeypatch, 31)
    assert await roll_up_profiles(database) == 0
    assert await spans(database) == [(5, False, 360, 1080), (5, True, 120, 360)]


async def test_hours_and_then_days_are_bit_for_bit_what_their_parts_were(database, filled, monkeypatch):
    before = {arm: await window_of(database, filled, arm) for arm in (None, "a", "b")}
    for days, expected in (
        (32, [(60, False, 20, 1080), (60, True, 10, 360)]),
        (402, [(1440, False, 2, 1080), (1440, True, 1, 360)]),
    ):
        at(monkeypatch, days)
        assert await roll_up_profiles(database) > 0
        assert await roll_up_profiles(database) == 0
        assert await spans(database) == expected
        since = NOON if days == 32 else NOON - timedelta(hours=12)
        for arm, was in before.items():
            now = await window_of(database, filled, arm, since=since)
            assert now.rows == was.rows
            for section in ("counts", "sums", "extremes"):
                assert np.array_equal(getattr(now.profile, section), getattr(was.profile, section))


async def test_a_window_of_hours_ends_where_its_last_hour_does(database, filled, monkeypatch):
    at(monkeypatch, 40)
    await roll_up_profiles(database)
    window = await window_of(database, filled, until=NOON + timedelta(hours=2))
    assert (window.since, window.until, window.buckets) == (NOON, NOON + timedelta(hours=2), 2)


async def test_rows_that_a_spool_brings_a_month_late_are_added(database, filled, monkeypatch):
    at(monkeypatch, 40)
    await roll_up_profiles(database)
    async with database.writes(TESTER) as session:
        reference = await find_reference(session, filled.id)
        late = Counted(5, reference.plan.profile(Answered([np.zeros(5), np.zeros(5)])))
        await add_to_profile(session, Place(filled.id, NOON, "production", "a", False), "late", late)
    await roll_up_profiles(database)
    assert await spans(database) == [(60, False, 20, 1085), (60, True, 10, 360)]
    assert (await window_of(database, filled)).rows == 1085


async def test_a_roll_up_that_is_broken_off_leaves_all_as_it_was(database, filled):
    async def break_off():
        async with database.writes(TESTER) as session:
            assert await roll_up_day(session, STEPS[0], filled.id, NOON - timedelta(hours=12)) == 480
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await break_off()
    assert await spans(database) == [(5, False, 360, 1080), (5, True, 120, 360)]
