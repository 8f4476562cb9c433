"""D1, D10, D11: the express way is taken, keeps its place among other requests, and loses nobody's answer."""

import asyncio
import gc
import json

import pytest

from app.core.telemetry import REQUESTS
from app.evidence.errors import SpoolFull
from app.serving.company import Seat
from app.serving.express import Express
from app.serving.lines import Line, LogMode
from tests.faults.harness import Client, eventually
from tests.serving.stand_in_serving import ONE, House, route_to

PLAIN = b'{"instances": [[1, 2.5]]}'


def predict(body: bytes = PLAIN, *headers: str, path: str = "/api/models/sign/predict") -> bytes:
    lines = ["Host: localhost", "Authorization: Bearer caller", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode() + body


@pytest.fixture
def taken(monkeypatch):
    """Whether each request went the express way."""
    decisions = []
    take = Express.take

    def noting(self, exchange):
        decisions.append(take(self, exchange))
        return decisions[-1]

    monkeypatch.setattr(Express, "take", noting)
    return decisions


@pytest.fixture(autouse=True)
async def warm(house: House):
    """A version that is not in memory yet is the application's to load."""
    await house.cache.get_ready(ONE)


@pytest.fixture
async def client(running):
    async with Client(running.port) as client:
        yield client


async def ask(client: Client, request: bytes):
    await client.send(request)
    return await asyncio.wait_for(client.read_answer(), 10)


async def test_a_plain_request_goes_express_with_the_headers_of_every_answer(client, house: House, taken):
    status, headers, document = await ask(client, predict(PLAIN, "X-Request-Id: mine"))
    assert (status, document["model_id"], taken) == (200, "sign:1", [True])
    assert headers["x-request-id"] == "mine"
    assert headers["content-type"] == "application/json"
    assert headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" in headers
    (record,) = house.logged()
    assert [record.request_id] == ["mine"]


async def test_it_is_counted_and_told_of_like_any_other(client, taken):
    counter = REQUESTS.labels("POST", "/api/models/{model_id}/predict", 200)
    before = counter._value.get()
    await ask(client, predict())
    await eventually(lambda: counter._value.get() == before + 1)
    assert taken == [True]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (predict(b'{"instances": [["a", 1]]}'), 422),
        (predict(b'{"instances": 7}'), 400),
        (predict(b"{"), 400),
        (predict(b"[" * 1000), 413),
        (predict().replace(b"caller", b"viewer"), 403),
        (predict().replace(b"caller", b"nobody"), 401),
        (predict().replace(b"caller", b"other"), 404),
        (predict().replace(b"localhost", b"evil.example"), 400),
        (predict(PLAIN, "Origin: https://evil.example"), 403),
        (predict(path="/api/models/unknown/predict"), 404),
        (predict(PLAIN, "X-Entity-Id: key").replace(b"key", b"\xff"), 422),
    ],
)
async def test_what_is_refused_is_refused_by_the_application_and_the_next_request_goes_express(
    client, taken, request_bytes, status
):
    answer = await ask(client, request_bytes)
    assert (answer[0], answer[2]["status"]) == (status, status)
    assert (await ask(client, predict()))[0] == 200
    assert taken == [False, True]


@pytest.mark.parametrize(
    "request_bytes",
    [
        predict(PLAIN, "Transfer-Encoding: chunked")
        .replace(b"Content-Length: 25\r\n", b"")
        .replace(PLAIN, b"19\r\n" + PLAIN + b"\r\n0\r\n\r\n"),
        predict(b'{"instances": [[1, 2.5]]' + b" " * (1024 * 1024) + b"}"),
        predict().replace(b"HTTP/1.1", b"HTTP/1.0"),
        predict(path="/api/models/sign%3A1/predict").replace(b"%3A1", b"%20"),
    ],
    ids=["chunked", "large", "old", "odd name"],
)
async def test_what_is_out_of_the_ordinary_is_answered_by_the_application(client, taken, request_bytes):
    status, *_ = await ask(client, request_bytes)
    assert status == (404 if b"%20" in request_bytes else 200)
    assert True not in taken


async def test_who_wants_to_be_asked_for_the_body_is_asked(client, taken):
    await client.send(predict(PLAIN, "Expect: 100-continue")[: -len(PLAIN)])
    assert b"100 Continue" in await client.reader.readuntil(b"\r\n\r\n")
    assert (await ask(client, PLAIN))[0] == 200
    assert taken == []


async def test_pipelined_requests_are_answered_in_their_order_whichever_way_they_go(client, taken):
    bodies = [b'{"instances": [[%d, 0]]}' % n for n in (1, -1)]
    await client.send(predict(bodies[0]) + predict(b"{") + predict(bodies[1]) + predict(bodies[0]))
    answers = [await asyncio.wait_for(client.read_answer(), 10) for _ in range(4)]
    assert [answer[0] for answer in answers] == [200, 400, 200, 200]
    assert [answers[i][2]["predictions"][0]["prediction"] for i in (0, 2, 3)] == [True, False, True]
    assert taken[0] is True


async def test_a_connection_that_is_to_be_closed_is_closed_after_the_answer(client, taken):
    status, headers, _ = await ask(client, predict(PLAIN, "Connection: close"))
    assert (status, headers["connection"], taken) == (200, "close", [True])
    assert await asyncio.wait_for(client.reader.read(), 3) == b""


async def test_a_body_in_pieces_is_one_body(client, taken):
    request = predict()
    for start in range(0, len(request), 50):
        await client.send(request[start : start + 50])
        await asyncio.sleep(0.01)
    assert (await client.read_answer())[0] == 200
    assert taken == [True]


async def test_where_the_record_waits_for_the_disk_the_answer_waits_too(client, house: House, taken):
    house.lines.known["sign"] = Line(route_to(ONE), LogMode.FSYNC)
    assert (await ask(client, predict()))[0] == 200
    assert (taken, len(house.logged())) == ([True], 1)


async def test_a_model_that_refuses_a_row_is_scored_apart_from_its_company(client, house: House, taken):
    status, _, document = await ask(client, predict(b'{"instances": [[1, 2], [13, 0]]}'))
    assert (status, taken) == (200, [True])
    assert document["predictions"][0]["prediction"] is True
    assert "bad luck" in document["predictions"][1]["error"]["message"]
    assert (await ask(client, predict(b'{"instances": [[13, 0]]}')))[0] == 422


async def test_where_there_is_no_room_for_the_record_there_is_no_answer(client, house: House, taken):
    def refuse(*_frames):
        raise SpoolFull(1)

    house.spool.append = refuse
    status, headers, problem = await ask(client, predict())
    assert (status, problem["type"], taken) == (507, "/problems/spool-full", [True])
    assert "x-request-id" in headers


async def test_a_defect_is_a_500_with_its_request_id_and_the_connection_lives_on(client, house: House, taken):
    def fail(_answers):
        raise LookupError("a defect")

    record, house.journal.record_together = house.journal.record_together, fail
    status, _, problem = await ask(client, predict(PLAIN, "X-Request-Id: r1"))
    assert (status, problem["request_id"]) == (500, "r1")
    house.journal.record_together = record
    assert (await ask(client, predict()))[0] == 200


async def test_who_hangs_up_meanwhile_costs_the_others_nothing(running, house: House, taken):
    async with Client(running.port) as leaving, Client(running.port) as staying:
        await leaving.send(predict())
        await leaving.close()
        assert (await ask(staying, predict()))[0] == 200
    await eventually(lambda: len(house.logged()) == len([each for each in taken if each]))


async def test_a_process_that_drains_answers_what_it_took_and_closes(running, house: House, taken):
    async with Client(running.port) as client:
        assert (await ask(client, predict()))[0] == 200
        running.should_exit = True
        await eventually(running.server_state.draining.is_set)
        status, headers, _ = await ask(client, predict())
        assert (status, headers["connection"]) == (200, "close")
    assert taken == [True, True]


async def test_a_sticky_caller_named_in_the_body_meets_the_arm_of_that_name(client, house: House, taken):
    house.lines.known["sign"] = Line(route_to(ONE, ONE, weights=(0.5, 0.5)))
    for key in range(20):
        body = json.dumps({"instances": [[1, 2]], "entity_id": f"user-{key}"}).encode()
        assert (await ask(client, predict(body)))[0] == 200
    arm_of = {record.entity_id: record.origin.arm for record in house.logged()}
    route = house.lines.known["sign"].route
    assert arm_of == {f"user-{key}": route.choose(f"user-{key}").arm for key in range(20)}
    assert taken == [True] * 20


async def test_an_answered_request_leaves_nothing_for_the_collector(client, taken):
    """Cycles would let thousands of requests pile up, and everybody wait while they are looked through."""

    def seats():
        return sum(type(each) is Seat for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            await ask(client, predict())
        assert seats() < 3
    finally:
        gc.enable()
    assert all(taken)
