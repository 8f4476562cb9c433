"""What people ask for beside the monitor, and what a check tells of the window that it looked at."""

from datetime import timedelta

from sqlalchemy import text

from app.core import clock
from app.core.config import Settings
from app.evidence.windows import read_window
from app.monitoring.drift import actions
from app.monitoring.drift.actions import Terms
from app.monitoring.drift.cases import find_case
from app.monitoring.signals import drift_scores
from tests import make
from tests.conftest import TESTER
from tests.monitoring.making import plan_of
from tests.monitoring.test_monitoring import NOON, watch_days

FIVE = timedelta(minutes=5)


async def ask(database, version, *, environment="production", **ends):
    """A check that somebody asked for, of a window of the log."""
    async with database.reads() as session:
        case = await find_case(session, version, environment, Settings())
        window = await read_window(session, case.reference, environment=environment, **ends)
    terms = Terms(0.1, 0.05)
    seen = await actions.look_at(case, window, terms)
    async with database.writes(TESTER) as session:
        actions.keep_verdict(session, seen, case, terms, **ends)


async def scores(database, until):
    async with database.reads() as session:
        return await drift_scores(session, NOON, until)


async def drifting(database, monkeypatch, means):
    async with database.writes(TESTER) as session:
        version = await make.version(session)
    plan = await plan_of(database, version)
    await watch_days(database, monkeypatch, Settings(), version, plan, means)
    return version


async def test_a_check_that_somebody_asks_for_neither_ends_nor_begins_an_incident(database, monkeypatch):
    version = await drifting(database, monkeypatch, [0.0, 0.0, 0.8])
    now = NOON + 4 * FIVE
    monkeypatch.setattr(clock, "now", lambda: now)
    before = await scores(database, now)
    assert before["m"] > 0.1
    await ask(
        database, version, since=now - timedelta(days=9), until=now - timedelta(days=8)
    )  # no rows at all
    await ask(database, version, since=NOON, until=NOON + FIVE)  # rows without drift
    assert await scores(database, now) == before


async def test_a_monitors_look_at_one_version_does_not_end_the_drift_of_another(database, monkeypatch):
    await drifting(database, monkeypatch, [0.0, 0.0, 0.8])
    async with database.writes(TESTER) as session:
        calm = await make.version(session)
    plan = await plan_of(database, calm)
    await watch_days(database, monkeypatch, Settings(), calm, plan, [0.0] * 4)
    assert (await scores(database, NOON + 5 * FIVE))["m"] > 0.1


async def test_looks_at_too_few_rows_to_tell_take_nothing_back(database, monkeypatch):
    """M3, M12: a drift that took many rows to be proven is not over because five minutes more can't prove it again."""
    async with database.writes(TESTER) as session:
        version = await make.version(session)
    plan = await plan_of(database, version)
    means = [0.0] * 4 + [0.9] * 4
    await watch_days(database, monkeypatch, Settings(), version, plan, means, rows=40)
    async with database.reads() as session:
        looks = (await session.execute(text("SELECT finding, low FROM drift_verdict ORDER BY at"))).all()
    assert [look.finding for look in looks[-2:]] == ["drift", "too_little_data"]
    assert await scores(database, NOON + (len(means) + 1) * FIVE) == {"m": looks[-2].low}
    assert looks[-2].low > 0.1
