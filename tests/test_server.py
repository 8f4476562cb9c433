"""D10 and bad input at the door: deadlines, malformed HTTP, and an end that fails no request."""

import asyncio

import pytest

from app import connection
from app import server as edge
from app.core.config import Settings
from app.core.limits import BodyLimits
from tests.faults.harness import Client, create_app, eventually, served


@pytest.fixture
def hurry(monkeypatch):
    """Every deadline passes in a fraction of a second."""
    monkeypatch.setattr(connection, "SILENCE_SECONDS", 0.4)
    monkeypatch.setattr(connection, "DRAIN_SILENCE_SECONDS", 0.3)
    monkeypatch.setattr(connection, "KEEP_ALIVE_SECONDS", 1.0)
    monkeypatch.setattr(edge, "_TICKS_PER_SWEEP", 1)


@pytest.fixture
async def running():
    """The harness's application behind its limits, served in this process."""
    settings = Settings(drain_seconds=3, max_json_bytes=64 * 1024, max_json_depth=8)
    async with served(BodyLimits(create_app(settings), settings=settings), settings) as server:
        yield server


@pytest.fixture
async def client(running):
    async with Client(running.port) as client:
        yield client


async def is_closed(client, within=3):
    return await asyncio.wait_for(client.reader.read(), within) == b""


@pytest.mark.parametrize(
    "noise",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"NONSENSE\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_not_http_is_answered_with_400_and_closed(client, noise):
    await client.send(noise)
    status, headers, problem = await client.read_answer()
    assert (status, headers["connection"]) == (400, "close")
    assert headers["content-type"] == "application/problem+json"
    assert problem["type"] == "/problems/not-http"
    assert await is_closed(client)


async def test_noise_behind_a_request_does_not_cost_the_request_its_answer(client):
    await client.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\nNONSENSE\r\n\r\n")
    status, headers, _ = await client.read_answer()
    assert (status, headers["connection"]) == (200, "close")
    assert await is_closed(client)


async def test_noise_inside_a_pipelined_request_is_not_taken_for_its_predecessors_answer(client):
    await client.send(
        b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    )
    assert await is_closed(client)


async def test_an_offer_to_upgrade_is_declined_by_answering(client):
    offer = (
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello"
    )
    for _ in range(2):
        await client.send(offer)
        status, _, document = await client.read_answer()
        assert (status, document["size"]) == (200, 5)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"],
        [b"POST / HTTP/1.1\r\nUpg", b"rade: h2c\r\nConnection: upgrade\r\nContent-Length: 5\r\n\r\nhello"],
    ],
)
async def test_a_change_of_protocol_that_can_not_be_ignored_is_refused(client, pieces):
    await drip(client, pieces, 0.05)
    assert (await client.read_answer())[0] == 400


async def test_pipelined_requests_are_answered_in_order(client):
    await client.send(
        b"".join(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % n + n * b"1" for n in range(9))
    )
    assert [(await client.read_answer())[2]["size"] for _ in range(9)] == list(range(9))


async def test_headers_that_do_not_end_are_cut_off_by_size(client):
    await client.send(b"GET / HTTP/1.1\r\n")
    for _ in range(20):
        await client.send(b"X-More: " + 8000 * b"x" + b"\r\n")
        await asyncio.sleep(0.005)
    status, _, problem = await client.read_answer()
    assert (status, problem["type"]) == (431, "/problems/headers-too-large")


async def drip(client, pieces, pause):
    for piece in pieces:
        await client.send(piece)
        await asyncio.sleep(pause)


async def test_headers_that_drip_are_cut_off_by_time(hurry, client):
    dripping = asyncio.create_task(drip(client, [b"GET / HTTP/1.1\r\n", *30 * [b"A: b\r\n"]], 0.1))
    await eventually(lambda: client.reader)
    status, _, problem = await asyncio.wait_for(client.read_answer(), 2)
    assert (status, problem["type"]) == (408, "/problems/request-too-slow")
    dripping.cancel()


async def test_a_body_that_stops_moving_is_answered_with_408(hurry, client):
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
    status, headers, problem = await asyncio.wait_for(client.read_answer(), 2)
    assert (status, headers["connection"], problem["status"]) == (408, "close", 408)
    assert await is_closed(client)


async def test_a_slow_body_that_moves_is_awaited(hurry, client):
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10240\r\n\r\n")
    await drip(client, 10 * [1024 * b"1"], 0.15)
    status, _, document = await client.read_answer()
    assert (status, document["size"]) == (200, 10240)


async def test_a_slow_answer_is_not_the_clients_fault(hurry, client):
    assert (await client.request("/slow", b"1"))[0] == 200


@pytest.mark.parametrize("first_words", [b"", b"\r\n"])
async def test_a_connection_that_never_brings_a_request_is_closed_without_a_word(hurry, client, first_words):
    await client.send(first_words)
    assert await is_closed(client)


async def test_an_idle_connection_is_kept_and_then_closed(hurry, client):
    assert (await client.request())[0] == 200
    await asyncio.sleep(0.6)
    assert (await client.request())[0] == 200
    await client.send(b"\r\n")
    assert await is_closed(client)


async def test_a_body_over_the_limit_is_refused_before_it_is_sent_and_the_client_can_read_why(client):
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n" + 500_000 * b"1")
    status, headers, problem = await asyncio.wait_for(client.read_answer(), 1)
    assert (status, headers["connection"]) == (413, "close")
    assert problem["type"] == "/problems/body-too-large"


async def test_a_chunked_body_over_the_limit_is_refused(client):
    chunk = b"8000\r\n" + 0x8000 * b"1" + b"\r\n"
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + 4 * chunk)
    assert (await asyncio.wait_for(client.read_answer(), 1))[0] == 413


async def test_the_connection_goes_on_after_a_body_that_was_read_and_refused(client):
    assert (await client.request("/", 100 * b"["))[0] == 413
    status, _, document = await client.request("/", b"[1]")
    assert (status, document["size"]) == (200, 3)


async def test_while_draining_every_connection_gets_one_more_answer_that_says_close(running):
    async with Client(running.port) as idle, Client(running.port) as busy:
        await idle.request()
        await busy.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.1)
        running.should_exit = True
        await asyncio.sleep(0.3)
        with pytest.raises(ConnectionRefusedError):
            await Client(running.port).connect()
        for connection, path in ((idle, b"/readyz"), (busy, None)):
            if path:
                await connection.send(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            status, headers, document = await connection.read_answer()
            assert (status, headers["connection"]) == (200, "close")
            assert document.get("draining", True)


async def test_half_a_request_does_not_hold_the_exit(running):
    async with Client(running.port) as half:
        await half.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Le")
        running.should_exit = True
        status, _, _ = await asyncio.wait_for(half.read_answer(), 3)
        assert status == 408


async def test_a_request_without_end_is_cut_off_when_the_drain_is_over(running):
    async with Client(running.port) as endless:
        await endless.send(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        running.should_exit = True
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await asyncio.wait_for(endless.read_answer(), 5)


async def test_a_caller_of_http_1_0_is_answered_and_closed(client):
    await client.send(b"GET / HTTP/1.0\r\n\r\n")
    status, headers, _ = await client.read_answer()
    assert (status, headers["connection"]) == (200, "close")
