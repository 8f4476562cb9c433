"""M9: what a monitor learns of its stream: how dependent rows are, and what each hour of the week is like."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy.signal import lfilter
from sqlalchemy import text

from app.core import clock
from app.core.config import Settings
from app.evidence.profiles import BUCKET, Counted, Place, add_to_profile
from app.evidence.seasons import find_week
from app.monitoring.drift import watching
from app.monitoring.drift.watching import watch_version
from app.runtimes.profiles import Answered
from tests import make
from tests.conftest import TESTER
from tests.monitoring.making import plan_of

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Stream:
    """A made-up version, whose rows come when a test says so."""

    def __init__(self, database, monkeypatch, version, plan):
        self.database, self.version, self.plan = database, version, plan
        self.now = MONDAY
        monkeypatch.setattr(clock, "now", lambda: self.now)

    async def came(self, start, table, spool="spool"):
        """Rows of one bucket were logged."""
        place = Place(self.version.id, start, "production", "champion", shadow=False)
        counted = Counted(len(table[0]), self.plan.profile(Answered(list(table))))
        async with self.database.writes(TESTER) as session:
            await add_to_profile(session, place, spool, counted)

    async def watch(self, until):
        """The monitor comes by at a moment, as often as there is something to look at."""
        self.now, before = until, -1
        while before != (looked := len(await self.verdicts())):
            before = looked
            async with self.database.writes(TESTER) as session:
                await session.execute(text("UPDATE watch SET looked_at = '2020-01-01'"))
            await watch_version(self.database, self.version.id, "production", Settings())

    async def verdicts(self):
        return await self._all("SELECT * FROM drift_verdict ORDER BY until, since DESC")

    async def facts(self):
        return [
            row.kind for row in await self._all("SELECT kind FROM fact WHERE kind LIKE 'Drift%' ORDER BY at")
        ]

    async def _all(self, query):
        async with self.database.reads() as session:
            return (await session.execute(text(query))).all()


@pytest.fixture
async def begin(database, monkeypatch):
    async def begin(**options):
        async with database.writes(TESTER) as session:
            version = await make.version(session)
        return Stream(database, monkeypatch, version, await plan_of(database, version, **options))

    return begin


def drawn(generator, count, mean=0.0):
    """Independent rows, whose first column may be off."""
    return generator.normal(size=(2, count)) + np.array([[mean], [0.0]])


def autoregressive(generator, count, phi=0.5):
    noise = generator.normal(scale=np.sqrt(1 - phi**2), size=(2, count + 100))
    return lfilter([1.0], [1.0, -phi], noise)[:, 100:]


async def test_a_look_without_drift_asks_to_retrain_what_has_fallen(begin):
    stream, generator = await begin(), np.random.default_rng(1)
    await stream.came(MONDAY, drawn(generator, 500))
    await stream.watch(MONDAY + HOUR)
    async with stream.database.writes(TESTER) as session:
        fallen = "INSERT INTO performance_watch (version_id, environment, began_at, looked_at, fallen_since)"
        values = {"id": stream.version.id, "at": MONDAY}
        await session.execute(text(f"{fallen} VALUES (:id, 'production', :at, :at, :at)"), values)
    await stream.came(MONDAY + HOUR, drawn(generator, 500))
    await stream.watch(MONDAY + 2 * HOUR)
    calm, *_, urgent = await stream.verdicts()
    assert "drift" not in {calm.finding, urgent.finding}
    assert (calm.recommendation, urgent.recommendation) == ("NO_ACTION_NEEDED", "RETRAIN_IMMEDIATELY")


async def test_dependent_rows_of_a_shuffled_reference_raise_no_alarm(begin):
    generator = np.random.default_rng(11)
    shuffled = generator.permutation(autoregressive(generator, 10_000), axis=1)
    stream = await begin(in_time=False, table=shuffled)
    rows = autoregressive(generator, 40 * 300)
    for number in range(40):
        await stream.came(MONDAY + number * BUCKET, rows[:, number * 300 :][:, :300])
    await stream.watch(MONDAY + 41 * BUCKET)
    verdicts = await stream.verdicts()
    assert await stream.facts() == []
    assert verdicts[0].basis["design_effects"][:2] == [10.0, 10.0]
    assert all(2 < effect < 8 for effect in verdicts[-1].basis["design_effects"][:2])
    assert verdicts[-1].basis["buckets_learnt"] >= 32


async def test_independent_rows_of_an_unordered_reference_count_for_more_and_more(begin):
    generator = np.random.default_rng(12)
    stream = await begin(in_time=False)
    for number in range(64):
        await stream.came(MONDAY + number * BUCKET, drawn(generator, 300))
    await stream.came(MONDAY + 64 * BUCKET, drawn(generator, 500, 0.5))
    await stream.watch(MONDAY + 66 * BUCKET)
    assert await stream.facts() == ["DriftDetected"]
    effects = [verdict.basis["design_effects"][0] for verdict in await stream.verdicts()]
    assert effects[0] == 10.0
    assert effects[-1] < 1.6


def at(moment):
    """By how much an hour of the day is off."""
    return np.sin(2 * np.pi * moment.hour / 24)


async def some_days(stream, days, generator, *, start, rows=150, shift=0.0):
    for number in range(round(24 * days)):
        hour = start + number * HOUR
        await stream.came(hour, drawn(generator, rows, at(hour) + shift))
    await stream.watch(start + timedelta(days=days) + BUCKET)


def of_whole_days(generator, per_hour=60):
    return np.concatenate([drawn(generator, per_hour, at(MONDAY + n * HOUR)) for n in range(168)], axis=1)


@pytest.mark.slow
async def test_the_week_of_a_stream_is_learnt_and_held_against_the_level_of_the_reference(begin):
    generator = np.random.default_rng(13)
    shuffled = generator.permutation(of_whole_days(generator), axis=1)
    stream = await begin(in_time=False, table=shuffled)
    await some_days(stream, 14, generator, start=MONDAY)
    early = await stream.verdicts()
    assert {verdict.basis["season"] for verdict in early} == {"not_known_yet"}
    assert sum(verdict.finding == "drift" for verdict in early) > 30
    await some_days(stream, 3, generator, start=MONDAY + timedelta(days=14))
    later = [each for each in (await stream.verdicts())[len(early) :] if each.basis["season"] == "learnt"]
    assert len(later) > 60
    assert [each.since for each in later if each.finding == "drift"] == []
    start = MONDAY + timedelta(days=17)
    await some_days(stream, 0.5, generator, start=start, shift=0.8)
    found = [each for each in await stream.verdicts() if each.finding == "drift" and each.since >= start]
    assert found
    assert found[0].until <= start + 3 * HOUR


async def test_a_reference_with_times_has_its_week_from_the_first_day(begin, database):
    generator = np.random.default_rng(14)
    two_weeks = np.concatenate([of_whole_days(generator), of_whole_days(generator)], axis=1)
    seconds = int(MONDAY.timestamp()) - 14 * 86_400 + np.arange(two_weeks.shape[1]) * 60
    stream = await begin(table=two_weeks, seconds=seconds)
    await keep_week(database, stream, two_weeks, seconds)
    await some_days(stream, 1.5, generator, start=MONDAY, rows=300)
    verdicts = await stream.verdicts()
    assert {verdict.basis["season"] for verdict in verdicts} == {"of_reference"}
    assert [verdict.since for verdict in verdicts if verdict.finding == "drift"] == []
    late = MONDAY + timedelta(days=1.5)
    await some_days(stream, 0.25, generator, start=late, rows=300, shift=1.0)
    assert await stream.facts() == ["DriftDetected"]


async def keep_week(database, stream, table, seconds):
    from app.evidence.seasons import REFERENCE, add_to_week
    from app.runtimes.row_order import weekly

    week = weekly(stream.plan, [Answered(list(table))], seconds)
    async with database.writes(TESTER) as session:
        hours = {hour: Counted(rows, profile) for hour, rows, profile in week}
        await add_to_week(session, stream.version.id, REFERENCE, hours)
        assert (await find_week(session, stream.plan.layout, stream.version.id)) is not None


async def test_a_bucket_that_arrives_late_belongs_where_its_time_puts_it(begin):
    generator = np.random.default_rng(15)
    stream = await begin()
    for number in (0, 1, 3):
        await stream.came(MONDAY + number * BUCKET, drawn(generator, 300))
    await stream.watch(MONDAY + 5 * BUCKET)
    await stream.came(MONDAY + 2 * BUCKET, drawn(generator, 300), spool="held up")
    for number in range(4, 8):
        await stream.came(MONDAY + number * BUCKET, drawn(generator, 300))
    await stream.watch(MONDAY + 9 * BUCKET)
    windows = [
        (round((v.since - MONDAY) / BUCKET), round((v.until - v.since) / BUCKET), v.rows)
        for v in await stream.verdicts()
    ]
    assert windows == [
        (0, 1, 300),
        (0, 2, 600),
        (0, 4, 900),
        (4, 1, 300),
        (4, 2, 600),
        (6, 1, 300),
        (0, 8, 2400),
    ]


async def test_clocks_that_jump_make_neither_errors_nor_alarms(begin):
    """Rows from 1970 and from tomorrow: the first are never looked at, the others once their time has come."""
    generator = np.random.default_rng(16)
    stream = await begin()
    tomorrow = MONDAY + timedelta(days=1)
    for start in (datetime(1970, 1, 1, tzinfo=UTC), MONDAY, tomorrow):
        await stream.came(start, drawn(generator, 300))
    await stream.watch(MONDAY + 2 * BUCKET)
    assert [verdict.since for verdict in await stream.verdicts()] == [MONDAY]
    await stream.came(MONDAY - timedelta(hours=3), drawn(generator, 300))  # the clock is set back
    await stream.watch(MONDAY + 3 * BUCKET)
    assert [verdict.since for verdict in await stream.verdicts()] == [MONDAY]
    await stream.watch(tomorrow + 2 * BUCKET)
    assert tomorrow in [verdict.since for verdict in await stream.verdicts()]
    assert await stream.facts() == []


async def test_what_came_while_nobody_looked_is_looked_at_in_parts(begin, database, monkeypatch):
    monkeypatch.setattr(watching, "MOST_ENDS", 8)
    generator = np.random.default_rng(17)
    stream = await begin()
    for number in range(12):
        await stream.came(MONDAY + number * BUCKET, drawn(generator, 20))
    stream.now = MONDAY + 14 * BUCKET
    await watch_version(database, stream.version.id, "production", Settings())
    assert len(await stream.verdicts()) == 8
    await stream.watch(stream.now)
    assert len(await stream.verdicts()) == 12
