"""Two changes of the same things that wait for each other: one of them is told to come again."""

import asyncio

from sqlalchemy import text

from app.core.problems import answer_error
from tests.conftest import TESTER

LOCK = text("SELECT pg_advisory_xact_lock(:key)")


async def test_a_change_that_collides_is_a_conflict_and_can_be_sent_again(database):
    meeting = asyncio.Barrier(2)

    async def change(mine, others):
        async with database.writes(TESTER) as session:
            await session.execute(LOCK, {"key": mine})
            await meeting.wait()
            await session.execute(LOCK, {"key": others})

    found = await asyncio.gather(change(1, 2), change(2, 1), return_exceptions=True)
    [error] = [each for each in found if each is not None]
    answer = answer_error(error, {"path": "/"})
    assert answer.status_code == 409
    assert b"changes-collided" in answer.body
