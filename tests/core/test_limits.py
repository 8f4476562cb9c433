"""S6 and bad input: bodies are measured by size, depth and time before anything parses them."""

import asyncio
import json
import re
import time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.config import Settings
from app.core.limits import BodyLimits, BodyTooDeep, _DepthScan, refuse_deep_json

MIB = 1024 * 1024


async def echo(scope, receive, send):
    """An application that answers how many bytes it was given."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def client_of(**settings):
    limits = BodyLimits(
        echo,
        settings=Settings(**settings),
        form_paths=re.compile(r"/api/models(/register)?"),
        file_paths=re.compile(r"/artifacts/.+"),
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(limits), base_url="http://test")


async def pieces(count, *, size=600, pause=0.0):
    for _ in range(count):
        yield size * b"1"
        await asyncio.sleep(pause)


async def test_a_body_within_the_limits_arrives_whole():
    async with client_of() as client:
        assert (await client.post("/x", json=[1, {"a": "b"}])).text == "13"
        assert (await client.post("/x", content=pieces(10))).text == "6000"
        assert (await client.get("/x")).text == "0"


async def test_a_declared_body_over_the_limit_is_refused_with_a_problem_document():
    async with client_of(max_json_bytes=1024) as client:
        answer = await client.post("/x", content=1025 * b"1")
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    problem = answer.json()
    assert (problem["type"], problem["status"], problem["limit_bytes"]) == (
        "/problems/body-too-large",
        413,
        1024,
    )


async def test_a_streamed_body_is_counted():
    async with client_of(max_json_bytes=1024) as client:
        assert (await client.post("/x", content=pieces(2))).status_code == 413
        assert (await client.post("/x", content=pieces(1))).status_code == 200


@pytest.mark.parametrize(
    ("path", "kind", "status"),
    [
        ("/api/models", "multipart/form-data; boundary=x", 200),
        ("/api/models/register", "Multipart/Form-Data; boundary=x", 200),
        ("/api/models", "application/json", 413),
        ("/api/models/m/predict", "multipart/form-data; boundary=x", 413),
        ("/artifacts/run/model.json", "application/json", 200),
        ("/x", "application/octet-stream", 413),
        ("/x", "text/csv", 413),
    ],
)
async def test_uploads_have_limits_of_their_own_where_uploads_belong(path, kind, status):
    async with client_of(max_json_bytes=1024) as client:
        answer = await client.post(path, content=pieces(2), headers={"content-type": kind})
    assert answer.status_code == status


async def test_a_body_that_takes_too_long_is_refused():
    async with client_of(request_seconds=0.2) as client:
        answer = await client.post("/x", content=pieces(50, pause=0.05))
    assert answer.status_code == 408
    assert answer.json()["type"] == "/problems/request-too-slow"


async def test_a_client_that_hangs_up_half_way_is_answered_by_nobody():
    async def receive():
        return messages.pop(0)

    async def send(message):
        raise AssertionError(message)

    messages = [{"type": "http.request", "body": b"1", "more_body": True}, {"type": "http.disconnect"}]
    scope = {"type": "http", "path": "/x", "headers": [(b"content-length", b"9")]}
    await BodyLimits(echo, settings=Settings())(scope, receive, send)
    assert messages == []


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
async def test_json_nested_too_deeply_is_refused_before_it_is_parsed(opening):
    async with client_of(max_json_depth=64) as client:
        assert (await client.post("/x", content=64 * opening)).status_code == 200
        answer = await client.post("/x", content=100_000 * opening)
    assert answer.status_code == 413
    assert (answer.json()["type"], answer.json()["limit_depth"]) == ("/problems/body-too-deep", 64)
    assert "connection" not in answer.headers


def depth_of(value):
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


json_values = st.recursive(
    st.none() | st.integers() | st.text() | st.text(alphabet='"\\[]{}'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='"\\[a'), inner, max_size=3),
)


@given(value=json_values, cut=st.integers(1, 7))
def test_the_scanned_depth_is_the_parsed_depth_however_the_text_is_cut(value, cut):
    text = json.dumps(value).encode()
    scan = _DepthScan()
    assert max(scan.feed(text[at : at + cut]) for at in range(0, len(text), cut)) == depth_of(value)


@pytest.mark.parametrize("unit", [b"[],", b'{"a":"b\\"["},', b'"' + 1000 * b"[" + b'",', b"1.5,"])
async def test_thirty_megabytes_hold_the_event_loop_for_milliseconds_only(unit):
    body = b"[" + unit * (30 * MIB // len(unit)) + b"0]"
    worst, last, scanning = 0.0, time.thread_time(), asyncio.create_task(refuse_deep_json(body, 64))
    while not scanning.done():
        await asyncio.sleep(0)
        now = time.thread_time()
        worst, last = max(worst, now - last), now
    await scanning
    assert worst < 0.1


async def test_depth_is_found_beyond_the_first_slice():
    with pytest.raises(BodyTooDeep):
        await refuse_deep_json(b"[" + b"1," * MIB + 64 * b"[", 64)
