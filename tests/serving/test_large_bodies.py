"""D1: a large body is read by a child process and scored in parts, and the event loop goes on meanwhile."""

import asyncio
import gc
import json
import time
from collections.abc import Iterator

import numpy as np
import pytest

from app.runtimes.errors import DeadlinePassed
from app.serving.dialects import NATIVE
from app.serving.errors import ReaderLost
from app.serving.readers import is_small
from tests.serving.stand_in_serving import SUM_SIGN, House

PREDICT = "/api/models/sign/predict"
ROWS = 50_000


def table(rows: int, *bad: int) -> bytes:
    numbers = np.random.default_rng(1).normal(size=(rows, 2)).round(6).tolist()
    for position in bad:
        numbers[position] = ["bad", 0]
    return json.dumps({"instances": numbers, "entity_id": "me"}).encode()


async def longest_turn(until: asyncio.Task[object]) -> float:
    """The most processor time that the event loop spent between two turns of a timer: no other process counts."""
    longest = 0.0
    while not until.done():
        began = time.thread_time()
        await asyncio.sleep(0.001)
        longest = max(longest, time.thread_time() - began)
    return longest


@pytest.mark.parametrize(
    ("body", "small"),
    [
        (table(1000), True),
        (table(3900), True),
        (table(5000), False),
        (b'{"instances": [[' + b"1," * 600_000 + b"1]]}", False),
    ],
)
def test_a_body_is_small_when_reading_it_takes_a_moment(body, small):
    assert is_small(body) == small


async def test_every_row_of_a_large_body_gets_its_own_answer(client, house: House):
    body = table(ROWS, 7, 20_000)
    answer = await client.post(PREDICT, content=body)
    predictions = answer.json()["predictions"]
    assert len(predictions) == ROWS
    assert [i for i, row in enumerate(predictions) if "error" in row] == [7, 20_000]
    for position in (0, 6, 8, 19_999, 20_001, ROWS - 1):
        x, y = json.loads(body)["instances"][position]
        assert predictions[position]["prediction"] is (x + y > 0)
    records = house.logged()
    assert len({key for record in records for key in record.ids}) == ROWS - 2
    assert sum(len(record.refused) for record in records) == 2
    assert {record.entity_id for record in records} == {"me"}


@pytest.fixture
def frozen_heap() -> Iterator[None]:
    """As the service runs: what was there at the start is not looked through at every collection of garbage."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("frozen_heap")
async def test_the_event_loop_goes_on_while_a_large_body_is_answered(client):
    body = table(ROWS)
    await client.post(PREDICT, content=body)
    asking = asyncio.create_task(client.post(PREDICT, content=body))
    longest = await longest_turn(asking)
    assert (await asking).status_code == 200
    assert longest < 0.1


async def test_a_large_body_in_which_every_row_is_bad_is_refused_like_a_small_one(client):
    answer = await client.post(PREDICT, content=table(6000, *range(6000)))
    assert (answer.status_code, answer.json()["rows"]) == (422, 6000)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[" + b"1," * 600_000, "malformed-json"),
        (b'{"instances": [' + b"[1,2]," * 60_000 + b"[1,2]]}", "too-many-rows"),
        (b'{"rows": [' + b"[1,2]," * 20_000 + b"[1,2]]}", "unknown-payload"),
        (b'{"entity_id": [], "instances": [' + b"[1,2]," * 20_000 + b"[1,2]]}", "field-problem"),
    ],
)
async def test_a_child_refuses_as_the_service_would_and_reads_the_next_body(client, content, problem):
    answer = await client.post(PREDICT, content=content)
    assert answer.json()["type"] == f"/problems/{problem}"
    assert (await client.post(PREDICT, content=table(6000))).status_code == 200


async def test_children_are_few_and_waited_for(client):
    answers = await asyncio.gather(*(client.post(PREDICT, content=table(6000)) for _ in range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6


async def test_a_child_that_dies_costs_its_request_and_no_other(house: House):
    deadline = time.monotonic() + 20
    async with house.readers.lend(table(10), NATIVE, deadline=deadline) as body:
        body._child.kill()
        with pytest.raises(ReaderLost):
            await body.open()
    async with house.readers.lend(table(10), NATIVE, deadline=deadline) as body:
        await body.open()
        assert (await body.read(SUM_SIGN, max_rows=10)).count == 10
        assert (await body.window(4, 6)).count == 2


async def test_a_body_that_is_not_read_in_time_is_given_up(house: House):
    with pytest.raises(DeadlinePassed):
        async with house.readers.lend(table(200_000), NATIVE, deadline=time.monotonic() + 0.05) as body:
            await body.open()
    assert house.readers._idle == []
