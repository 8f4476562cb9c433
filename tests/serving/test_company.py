"""D1, D10: requests that arrive together go together, a lone one goes at once, and none pays for another's trouble."""

import asyncio

import pytest

from app.core.access import Caller, Role
from app.runtimes.errors import MisshapenPayload
from app.serving.answers import PredictRequest
from app.serving.company import MOST_TOGETHER
from app.serving.dialects import NATIVE, Dialect
from app.serving.errors import NothingScored
from tests.serving.stand_in_serving import ONE, House, SumSign

ANYBODY = Caller("anybody", Role.CALLER)


class Counting(SumSign):
    """Remembers how many rows each call brought."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def score(self, rows):
        self.calls.append(len(rows.good))
        return super().score(rows)


@pytest.fixture
async def model(house: House) -> Counting:
    model = house.models[ONE] = Counting()
    await house.cache.get_ready(ONE)
    model.calls.clear()
    return model


def asking(house: House, body: bytes = b'{"instances": [[1, 2]]}', dialect: Dialect = NATIVE, **options):
    return house.predictor.predict(PredictRequest("sign", body, ANYBODY, dialect, **options))


async def test_those_who_arrive_together_share_one_call_and_one_write(house: House, model: Counting):
    writes = []
    append = house.spool.append
    house.spool.append = lambda *frames: writes.append(len(frames)) or append(*frames)
    await asyncio.gather(*(asking(house) for _ in range(16)))
    assert (model.calls, writes) == ([16], [16])


async def test_who_arrives_in_the_next_turn_still_joins(house: House, model: Counting):
    async def ask_later(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await asking(house)

    await asyncio.gather(asking(house), asking(house), *(ask_later(turns) for turns in (1, 2)))
    assert model.calls == [4]


async def test_a_lone_request_goes_in_the_next_turn(house: House, model: Counting):
    task = asyncio.create_task(asking(house))
    for _ in range(3):  # one to arrive, one to go, one to come back
        assert not task.done()
        await asyncio.sleep(0)
    assert task.done()


async def test_a_steady_stream_keeps_nobody_waiting(house: House, model: Counting):
    async def ask_after(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await asking(house)

    await asyncio.gather(asking(house), asking(house), *(ask_after(turns) for turns in range(1, 100)))
    assert sum(model.calls) == 101
    assert max(model.calls) <= MOST_TOGETHER


async def test_each_gets_its_own_refusal_and_the_others_their_answers(house: House, model: Counting):
    bodies = (
        b'{"instances": [[1, 2]]}',
        b'{"instances": 7}',
        b'{"instances": [["a", 2]]}',
        b'{"instances": [[3, 4]]}',
    )
    good, misshapen, nothing, fine = await asyncio.gather(
        *(asking(house, body) for body in bodies), return_exceptions=True
    )
    assert isinstance(misshapen, MisshapenPayload)
    assert isinstance(nothing, NothingScored)
    assert [answer.parts[0].scored.scores.prediction for answer in (good, fine)] == [[True], [True]]


async def test_a_defect_in_reading_one_request_is_its_own(house: House):
    def read_badly(payload, signature, *, max_rows):
        raise RuntimeError("a defect")

    odd = Dialect(NATIVE.decode, NATIVE.read_envelope, read_badly)
    outcomes = await asyncio.gather(asking(house), asking(house, dialect=odd), return_exceptions=True)
    assert isinstance(outcomes[1], RuntimeError)
    assert outcomes[0].parts[0].scored.count == 1


async def test_a_defect_in_encoding_leaves_nobody_waiting(house: House):
    def encode_badly(answer):
        raise RuntimeError("a defect")

    outcomes = await asyncio.wait_for(
        asyncio.gather(asking(house, encode=encode_badly), asking(house), return_exceptions=True), 5
    )
    assert isinstance(outcomes[0], RuntimeError)
    assert outcomes[1].parts[0].scored.count == 1


async def test_who_hangs_up_meanwhile_costs_the_others_nothing(house: House, model: Counting):
    leaving, staying = (asyncio.create_task(asking(house)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).parts[0].scored.count == 1
