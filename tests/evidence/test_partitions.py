"""D11: the log has a partition for each day, made ahead and on demand, and dropped when it is older than it keeps."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from app.core import clock, jobs
from app.core.config import Settings
from app.core.ids import new_id
from app.evidence.actions import keep_log_days
from app.evidence.jobs import KEEP_LOG_DAYS, job_handlers
from app.evidence.partitions import ensure_partitions, list_partitions
from tests.conftest import TESTER
from tests.evidence.making import about, count, give, log_requests, scored_request


async def days_of_log(database):
    async with database.reads() as session:
        partitions = await list_partitions(session)
    days = {parent: [day for of, day in partitions if of == parent] for parent, _ in partitions}
    assert days.get("prediction") == days.get("outcome")
    return days.get("prediction", [])


def id_on(day):
    moment = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return UUID(int=(int(moment.timestamp() * 1000) << 80) | (new_id().int & ((1 << 80) - 1)))


async def test_many_who_need_the_same_days_at_once_make_each_once(database):
    days = [date(2026, 1, day) for day in range(1, 4)]

    async def need():
        async with database.writes(TESTER) as session:
            await ensure_partitions(session, days)

    await asyncio.gather(*(need() for _ in range(8)))
    assert await days_of_log(database) == days


async def test_making_a_day_waits_for_no_reader_of_another(database):
    async with database.writes(TESTER) as session:
        await ensure_partitions(session, [date(2026, 1, 1)])
    async with database.reads() as reader, asyncio.timeout(5):
        await reader.execute(text("SELECT count(*) FROM prediction"))
        async with database.writes(TESTER) as session:
            await ensure_partitions(session, [date(2026, 1, 2)])


async def test_upkeep_makes_the_next_days_and_drops_those_that_are_too_old(
    database, caller, version, tmp_path
):
    today = clock.now().date()
    last_kept, first_dropped = today - timedelta(days=90), today - timedelta(days=91)
    kept, dropped = id_on(last_kept), id_on(first_dropped)
    await log_requests(
        database, tmp_path, *(scored_request(ids=[i], version_id=version.id) for i in (kept, dropped))
    )
    async with database.writes(TESTER) as session:
        assert await keep_log_days(session, 90) == [first_dropped]
    assert await days_of_log(database) == [last_kept, *(today + timedelta(days=ahead) for ahead in range(3))]
    assert await count(database, "SELECT count(*) FROM prediction") == 1
    facts = (
        f"SELECT count(*) FROM fact WHERE kind = 'LogDaysDropped' AND body->'days'->>0 = '{first_dropped}'"
    )
    assert await count(database, facts) == 1


async def test_upkeep_that_finds_nothing_old_announces_nothing(database):
    async with database.writes(TESTER) as session:
        assert await keep_log_days(session, 90) == []
    assert await count(database, "SELECT count(*) FROM fact") == 0


async def test_the_job_keeps_as_many_days_as_the_settings_say(database, tmp_path):
    await log_requests(
        database, tmp_path, scored_request(ids=[id_on(clock.now().date() - timedelta(days=9))])
    )
    claim = jobs.Claim(new_id(), KEEP_LOG_DAYS, {}, fence=1, attempt=1, database=database)
    await job_handlers(Settings(prediction_retention_days=9))[KEEP_LOG_DAYS](claim)
    assert await count(database, "SELECT count(*) FROM prediction") == 1
    await job_handlers(Settings(prediction_retention_days=8))[KEEP_LOG_DAYS](claim)
    assert await count(database, "SELECT count(*) FROM prediction") == 0


@pytest.mark.parametrize("days_ago", [0, 30])
async def test_a_label_gets_the_day_of_its_prediction(database, caller, version, days_ago):
    day = clock.now().date() - timedelta(days=days_ago)
    early = new_id() if not days_ago else id_on(day)
    assert (await give(caller, about(early)))["pending"] == 1
    assert day in await days_of_log(database)
