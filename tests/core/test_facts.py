"""Facts (S3): announced in the change's transaction, sealed in one order into a chain that shows tampering.

Tampering is done here as a superuser of the database could do it: with the trigger that keeps facts append-only
switched off.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from app.core.facts import Fact, FactRow, announce, read_head, seal_facts, select_facts, verify_facts
from app.core.jobs import Job
from tests.conftest import TESTER


@dataclass(frozen=True)
class ThingHappened(Fact):
    """Something of no consequence happened."""

    number: int
    size: float = 1e-07
    words: str = "naïve ✓"

    @property
    def subject(self) -> str:
        return f"thing:{self.number}"


async def announce_some(database, count, first=1):
    for number in range(first, first + count):
        async with database.writes(TESTER) as session:
            announce(session, ThingHappened(number))


async def seal(database, reactions=None):
    async with database.writes(TESTER) as session:
        return await seal_facts(session, reactions or {})


async def verify(database, checkpoint=None):
    async with database.reads() as session:
        return await verify_facts(session, checkpoint=checkpoint)


async def tamper(database, *statements):
    async with database.writes(TESTER) as session:
        await session.execute(text("ALTER TABLE fact DISABLE TRIGGER append_only"))
        for statement in statements:
            await session.execute(text(statement))
        await session.execute(text("ALTER TABLE fact ENABLE TRIGGER append_only"))


@pytest.fixture
async def chain(database):
    """A database with a chain of five facts."""
    await announce_some(database, 5)
    await seal(database)
    return database


async def test_facts_are_sealed_in_the_order_in_which_they_were_announced(chain):
    async with chain.reads() as session:
        rows = (await session.scalars(select(FactRow).order_by(FactRow.sequence))).all()
    assert [(row.sequence, row.subject) for row in rows] == [(n, f"thing:{n}") for n in range(1, 6)]
    assert {(row.kind, row.actor, row.role) for row in rows} == {("ThingHappened", "tester", "admin")}


async def test_an_untouched_chain_is_intact(chain):
    await announce_some(chain, 1, first=6)
    verdict = await verify(chain)
    assert (verdict.intact, verdict.facts, verdict.unsealed, verdict.broken_at) == (True, 5, 1, None)


async def test_an_empty_chain_is_intact(database):
    verdict = await verify(database)
    assert (verdict.intact, verdict.facts, verdict.head) == (True, 0, "00" * 32)


async def test_a_fact_of_a_transaction_that_is_undone_was_never_announced(database):
    with suppress(RuntimeError):
        async with database.writes(TESTER) as session:
            announce(session, ThingHappened(1))
            raise RuntimeError
    assert await seal(database) == 0


@pytest.mark.parametrize(
    "edit",
    [
        "body = '{\"number\": 33}'",
        "actor = 'somebody else'",
        "role = 'viewer'",
        "at = at + interval '1 second'",
        "subject = 'thing:33'",
        "kind = 'NothingHappened'",
        "request_id = 'other'",
        r"hash = '\x00'",
    ],
)
async def test_an_edited_fact_breaks_the_chain_where_it_stands(chain, edit):
    await tamper(chain, f"UPDATE fact SET {edit} WHERE sequence = 3")
    verdict = await verify(chain)
    assert (verdict.intact, verdict.broken_at) == (False, 3)


async def test_reordered_facts_break_the_chain(chain):
    swap = "UPDATE fact SET sequence = {} WHERE sequence = {}"
    await tamper(chain, swap.format(99, 2), swap.format(2, 3), swap.format(3, 99))
    verdict = await verify(chain)
    assert (verdict.intact, verdict.broken_at) == (False, 2)


async def test_a_deleted_fact_is_missed(chain):
    await tamper(chain, "DELETE FROM fact WHERE sequence = 2")
    verdict = await verify(chain)
    assert (verdict.intact, verdict.broken_at, verdict.problem) == (False, 2, "fact 2 is missing")


async def test_a_deleted_fact_is_missed_although_the_others_were_renumbered(chain):
    await tamper(
        chain, "DELETE FROM fact WHERE sequence = 2", *(f"UPDATE fact SET sequence = {n - 1} WHERE sequence = {n}" for n in (3, 4, 5))
    )  # fmt: skip
    assert (await verify(chain)).broken_at == 2


async def test_a_tail_that_was_cut_off_is_shown_by_a_checkpoint_only(chain):
    async with chain.reads() as session:
        sequence, head = await read_head(session)
    await tamper(chain, "DELETE FROM fact WHERE sequence > 3")
    assert (await verify(chain)).intact
    verdict = await verify(chain, checkpoint=(sequence, head.hex()))
    assert (verdict.intact, verdict.broken_at) == (False, 4)
    assert "cut off" in verdict.problem


async def test_a_tail_that_was_replaced_is_shown_by_a_checkpoint(chain):
    async with chain.reads() as session:
        sequence, head = await read_head(session)
    await tamper(chain, "DELETE FROM fact WHERE sequence > 3")
    await announce_some(chain, 4, first=40)
    await seal(chain)
    assert (await verify(chain)).intact
    verdict = await verify(chain, checkpoint=(sequence, head.hex()))
    assert (verdict.intact, verdict.broken_at) == (False, 5)


async def test_a_checkpoint_of_an_untouched_chain_still_holds_after_it_grew(chain):
    async with chain.reads() as session:
        sequence, head = await read_head(session)
    await announce_some(chain, 3, first=6)
    await seal(chain)
    assert (await verify(chain, checkpoint=(sequence, head.hex()))).intact


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE fact SET actor = 'somebody else' WHERE sequence = 1",
        "UPDATE fact SET sequence = NULL, hash = NULL WHERE sequence = 5",
        "UPDATE fact SET body = '{}' WHERE sequence IS NULL",
        "DELETE FROM fact WHERE sequence = 5",
        "DELETE FROM fact WHERE sequence IS NULL",
    ],
)
async def test_the_database_refuses_to_change_or_delete_a_fact(chain, statement):
    await announce_some(chain, 1, first=6)
    with pytest.raises(DBAPIError, match="never change"):
        async with chain.writes(TESTER) as session:
            await session.execute(text(statement))
    assert (await verify(chain)).intact


async def test_two_sealers_at_once_make_one_chain(database):
    await announce_some(database, 40)

    async def seal_until_done():
        return sum([await seal(database, {"ThingHappened": ["react"]}) for _ in range(5)])

    assert sum(await asyncio.gather(*(seal_until_done() for _ in range(4)))) == 40
    assert (await verify(database)).facts == 40
    assert (await verify(database)).intact


async def test_each_reaction_to_a_fact_is_queued_once(database):
    await announce_some(database, 3)
    reactions = {"ThingHappened": ["tell", "count"], "SomethingElse": ["never"]}
    await asyncio.gather(*(seal(database, reactions) for _ in range(4)))
    await seal(database, reactions)
    async with database.reads() as session:
        counts = await session.execute(select(Job.kind, func.count()).group_by(Job.kind))
        assert dict(counts.all()) == {"tell": 3, "count": 3}
        facts = set(await session.scalars(select(FactRow.id)))
        assert {UUID(job.payload["fact_id"]) for job in await session.scalars(select(Job))} == facts


async def test_a_sealer_that_is_undone_seals_nothing_and_starts_nothing(database):
    await announce_some(database, 2)
    with suppress(RuntimeError):
        async with database.writes(TESTER) as session:
            await seal_facts(session, {"ThingHappened": ["react"]})
            raise RuntimeError
    async with database.reads() as session:
        assert await session.scalar(select(func.count()).select_from(Job)) == 0
    assert await seal(database, {"ThingHappened": ["react"]}) == 2


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"subject": "thing:1"}, {"thing:1"}),
        ({"subject": "thing"}, {"thing:1", "thing:2", "thing:10"}),
        ({"subject": "thing:%"}, set()),
        ({"actor": "nobody"}, set()),
        ({"kind": "ThingHappened", "actor": "tester"}, {"thing:1", "thing:2", "thing:10"}),
    ],
)
async def test_a_subject_also_finds_what_lies_under_it(database, filters, expected):
    for number in (1, 2, 10):
        await announce_some(database, 1, first=number)
    async with database.reads() as session:
        assert {row.subject for row in await session.scalars(select_facts(**filters))} == expected
