"""M8: old looks become hours of the history, which says the same as before; what rests on the log goes with it."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import text

from app.core import clock
from app.core.ids import new_id
from app.core.jobs import WORKER
from app.monitoring.kinds import SeriesKind
from app.monitoring.queries import drift_history
from app.monitoring.regimes.following import Terms, get_monitor, make_monitor, take_values
from app.monitoring.retention import forget_with_the_log, roll_up_verdicts
from tests import make
from tests.conftest import TESTER

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LOOK = text("""
    INSERT INTO drift_verdict (id, model_id, version_id, version, environment, at, since, until, rows, asked_by, finding,
        recommendation, score, low, high, false_alarms, threshold, columns)
    VALUES (:id, :model, :model, 1, 'production', :at, :since, :at, 100, :by, :finding, :recommendation, :score, :low, :high,
        0.05, 0.1, '[]')
""")


@pytest.fixture
async def looked(database):
    """A model that was looked at every half hour for five hundred days."""
    model, generator = new_id(), np.random.default_rng(8)
    rows = []
    for number in range(0, 24_000, 7):  # every 3.5 hours: enough to fall into all hours of the day
        at = NOW - timedelta(minutes=30) * number - timedelta(minutes=3)
        score = float(generator.random())
        rows.append(
            {
                "id": new_id(), "model": model, "at": at, "since": at, "by": WORKER.name if number % 5 else "alice",
                "finding": "drift" if score > 0.9 else "no_relevant_drift",
                "recommendation": "RETRAIN_SOON" if score > 0.9 else "NO_ACTION_NEEDED",
                "score": score, "low": score / 2, "high": score * 1.5,
            }
        )  # fmt: skip
    async with database.writes(TESTER) as session:
        await session.execute(LOOK, rows)
    return model


async def history(database, model, granularity):
    async with database.reads() as session:
        since = NOW.replace(hour=0) - timedelta(days=495)
        rows = await drift_history(
            session, model, environment="production", since=since, granularity=granularity
        )
        return [tuple(row) for row in rows]


async def test_the_history_says_the_same_after_old_looks_were_rolled_up(database, looked, monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOW)
    before = {granularity: await history(database, looked, granularity) for granularity in ("hour", "day")}
    for _ in range(2):
        async with database.writes(WORKER) as session:
            await roll_up_verdicts(session)
        assert {granularity: await history(database, looked, granularity) for granularity in before} == before
    async with database.reads() as session:
        kept = (await session.execute(text("SELECT at, finding, asked_by FROM drift_verdict"))).all()
    assert all(row.at >= NOW - timedelta(days=400) for row in kept)
    old = [row for row in kept if row.at < NOW - timedelta(days=31)]
    assert old
    assert all(row.finding == "drift" or row.asked_by == "alice" for row in old)


async def test_values_go_with_the_log_and_the_series_goes_on(database, monkeypatch):
    async with database.writes(TESTER) as session:
        version = await make.version(session)
        terms = Terms("s", SeriesKind.POSTED, None, "production", 1000.0)
        monitor = await make_monitor(session, version.model_id, "m", terms)
        start = NOW - timedelta(days=200)
        values = [(start + timedelta(days=i), float(i % 7)) for i in range(50)]
        await take_values(session, monitor, values)
    monkeypatch.setattr(clock, "now", lambda: NOW)
    async with database.writes(WORKER) as session:
        await forget_with_the_log(session, 90)
    async with database.writes(TESTER) as session:
        monitor = await get_monitor(session, version.model_id, "m", "s")
        assert await session.scalar(text("SELECT count(*) FROM regime_value")) == 1
        told = await take_values(session, monitor, [*values[-2:], (NOW, 3.0)])
        assert (told.taken, told.repeated, told.late) == (1, 1, 1)
        assert (monitor.values, monitor.since) == (51, start)
