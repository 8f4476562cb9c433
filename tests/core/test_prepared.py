"""Prepared statements are the session's: in its transaction, after what it has still to write, with its errors."""

from contextlib import suppress

import pytest
from sqlalchemy import bindparam, func, select
from sqlalchemy.exc import IntegrityError

from app.core import clock
from app.core.prepared import PreparedInsert, PreparedRead, PreparedTogether
from app.core.replicas import Want
from tests.conftest import TESTER
from tests.make import some_id

ADD = PreparedInsert(Want)
COUNT = PreparedRead(select(func.count()).where(Want.wanted_by == bindparam("by")))


def want():
    return Want(version_id=some_id(), wanted_by="a test", since=clock.now())


async def test_what_a_prepared_statement_writes_first_is_undone_with_its_transaction(database):
    with suppress(RuntimeError):
        async with database.writes(TESTER) as session:
            await ADD.add(session, want())
            raise RuntimeError
    async with database.reads() as session:
        assert await COUNT.rows(session, by="a test") == [[0]]


async def test_a_prepared_read_sees_what_its_session_has_not_flushed_yet(database):
    async with database.writes(TESTER) as session:
        session.add(want())
        assert await COUNT.rows(session, by="a test") == [[1]]


async def test_a_row_that_is_there_already_is_the_integrity_error_of_any_session(database):
    async def add(row):
        async with database.writes(TESTER) as session:
            await ADD.add(session, row)

    twice = want()
    await add(twice)
    with pytest.raises(IntegrityError):
        await add(twice)


async def test_queries_that_go_together_come_back_each_with_its_own_rows(database):
    by = Want.wanted_by == bindparam("by")
    both = PreparedTogether(select(Want.version_id, Want.since).where(by), select(func.count()).where(~by))
    async with database.writes(TESTER) as session:
        mine, other = want(), Want(version_id=some_id(), wanted_by="another", since=clock.now())
        session.add_all([mine, other])
        assert await both.rows(session, by="a test") == [[[mine.version_id, mine.since]], [[1]]]
        assert await both.rows(session, by="nobody") == [[], [[2]]]
