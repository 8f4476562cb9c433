"""P7: durable jobs: deduplicated, claimed once, retried, fenced."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.core import clock, jobs
from app.core.jobs import Job, JobState, TryAgain, claim_job, enqueue, run_claim, work_on
from tests.conftest import TESTER


async def queue(database, kind="k", **options):
    async with database.writes(TESTER) as session:
        return await enqueue(session, kind, {"n": 1}, **options)


async def only_job(database):
    async with database.reads() as session:
        return (await session.scalars(select(Job))).one()


async def test_a_second_job_of_the_same_meaning_is_not_queued_while_the_first_is_open(database):
    assert await queue(database, dedupe_key="a")
    assert await queue(database, dedupe_key="a") is None
    claim = await claim_job(database, ["default"], ["k"])
    assert await queue(database, dedupe_key="a") is None
    await run_claim(claim, lambda _claim: asyncio.sleep(0))
    assert await queue(database, dedupe_key="a")


async def test_one_of_many_claimers_gets_the_job(database):
    await queue(database)
    claims = await asyncio.gather(*(claim_job(database, ["default"], ["k"]) for _ in range(8)))
    assert sum(claim is not None for claim in claims) == 1


async def test_a_failing_job_is_tried_again_later_and_given_up_after_its_last_attempt(database):
    await queue(database, max_attempts=2)

    async def fail(_claim):
        raise RuntimeError("no luck")

    await run_claim(await claim_job(database, ["default"], ["k"]), fail)
    job = await only_job(database)
    assert (job.state, job.attempts) == (JobState.QUEUED, 1)
    assert job.due_at > clock.now()
    assert "no luck" in job.error
    async with database.writes(TESTER) as session:
        await session.execute(update(Job).values(due_at=clock.now()))
    await run_claim(await claim_job(database, ["default"], ["k"]), fail)
    assert (await only_job(database)).state == JobState.FAILED


async def test_a_job_that_asks_for_more_time_does_not_use_up_an_attempt(database):
    await queue(database)

    async def wait(_claim):
        raise TryAgain(0)

    await run_claim(await claim_job(database, ["default"], ["k"]), wait)
    job = await only_job(database)
    assert (job.state, job.attempts) == (JobState.QUEUED, 0)


async def test_a_worker_that_comes_back_after_its_lease_is_fenced_off(database):
    await queue(database)
    slow = await claim_job(database, ["default"], ["k"])
    async with database.writes(TESTER) as session:
        await session.execute(update(Job).values(due_at=clock.now() - timedelta(seconds=1)))
    quick = await claim_job(database, ["default"], ["k"])
    assert quick.fence > slow.fence
    await run_claim(slow, lambda _claim: asyncio.sleep(0))
    assert (await only_job(database)).state == JobState.RUNNING
    await run_claim(quick, lambda _claim: asyncio.sleep(0))
    assert (await only_job(database)).state == JobState.DONE


async def test_a_waiting_worker_starts_at_once_when_it_is_woken(database):
    woken, done = asyncio.Event(), asyncio.Event()

    async def finish(_claim):
        done.set()

    worker = asyncio.create_task(work_on(database, {"k": finish}, woken=woken, idle_seconds=60))
    await queue(database)
    woken.set()
    await asyncio.wait_for(done.wait(), 10)
    worker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await worker


@pytest.mark.parametrize("attempt", [1, 5, 50])
def test_pauses_grow_and_stay_bounded(attempt):
    assert 0.5 <= jobs.retry_seconds(attempt) <= jobs.LONGEST_RETRY_SECONDS
