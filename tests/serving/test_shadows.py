"""D5, X6: shadows score what was answered, unseen: recorded beside it, never in anybody's way."""

import asyncio
import threading

import pytest

from app.runtimes.schema import Column, ColumnType, Signature, Task
from app.serving.figures import SHADOWS_DROPPED
from app.serving.lines import Line
from app.traffic.rules import Shadow
from tests.serving.stand_in_serving import ONE, THREE, TWO, TWO_NUMBERS, House, SumSign, route_to

PREDICT = "/api/models/sign/predict"
GOOD = {"x": 1, "y": 2.5, "z": 7}


async def predict(client, *rows):
    return await client.post(PREDICT, json={"instances": list(rows), "request_id": "mine"})


def dropped() -> float:
    return SHADOWS_DROPPED._value.get()


def shadow_with(house: House, *shadows: Shadow) -> None:
    house.lines.known["sign"] = Line(route_to(ONE, shadows=shadows))


async def test_a_shadow_scores_the_same_rows_and_its_answers_are_recorded_as_such(client, house: House):
    shadow_with(house, Shadow(TWO), Shadow(THREE))
    answer = await predict(client, [1, 2], [-3, 0])
    await house.shadows.drain()
    answered, *unseen = house.logged()
    assert answer.json()["model_id"] == "sign:1"
    assert (answered.origin.shadow, answered.origin.version_id) == (False, ONE)
    assert {record.origin.version_id for record in unseen} == {TWO, THREE}
    for record in unseen:
        assert (record.origin.shadow, record.origin.arm, record.request_id) == (True, None, "mine")
        assert record.features.tolist() == answered.features.tolist()
        assert set(record.ids).isdisjoint(answered.ids)


async def test_a_shadow_gets_its_share_of_the_requests(client, house: House):
    shadow_with(house, Shadow(TWO, 0.3))
    await asyncio.gather(*(predict(client, [1, 2]) for _ in range(200)))
    await house.shadows.drain()
    unseen = [record for record in house.logged() if record.origin.shadow]
    assert 30 < len(unseen) < 95
    assert {record.origin.propensity for record in unseen} == {0.3}


async def test_a_shadow_may_take_other_columns_than_who_answers(client, house: House):
    house.signatures[TWO] = Signature(
        (*TWO_NUMBERS, Column("z", ColumnType.FLOAT)), Task.CLASSIFICATION, classes=(False, True)
    )
    shadow_with(house, Shadow(TWO))
    await predict(client, GOOD)
    await house.shadows.drain()
    _, unseen = house.logged()
    assert unseen.features.tolist() == [[1, 2.5, 7]]


async def test_a_shadow_that_hangs_delays_nobody_and_what_finds_no_room_is_dropped(client, house: House):
    gate = threading.Event()

    class Hanging(SumSign):
        is_warm = False

        def score(self, rows):
            if self.is_warm:
                gate.wait(5)
            return super().score(rows)

    house.models[TWO] = Hanging()
    await house.cache.get_ready(TWO)
    house.models[TWO].is_warm = True
    house.cache.find_ready(TWO).pace.call_seconds = 1
    shadow_with(house, Shadow(TWO))
    before = dropped()
    answers = await asyncio.wait_for(asyncio.gather(*(predict(client, [1, 2]) for _ in range(150))), 3)
    assert {answer.status_code for answer in answers} == {200}
    assert dropped() - before == 50
    gate.set()
    await house.shadows.drain()
    assert sum(record.origin.shadow for record in house.logged()) == 100


@pytest.mark.parametrize("trouble", ["missing", "refusing"])
async def test_a_shadow_in_trouble_harms_no_answer(client, house: House, trouble):
    if trouble == "missing":
        del house.models[TWO]
    shadow_with(house, Shadow(TWO))
    answer = await predict(client, [1, 2], [13, 2])
    await house.shadows.drain()
    assert answer.json()["predictions"][0]["prediction"] is True
    unseen = [record for record in house.logged() if record.origin.shadow]
    assert len(unseen) == (trouble == "refusing")
