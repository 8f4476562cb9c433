"""M13, RELIABILITY: one line and one count for each request, and one sum over the processes of a replica."""

import asyncio
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import CapturingLogger

from app.core import problems, telemetry
from app.core.access import Caller, Role
from app.core.telemetry import REQUESTS, RequestLog, shared_metrics


async def page(scope, receive, send):
    """An application that knows its caller and answers what the path asks for."""
    scope["state"]["caller"] = Caller('name "with"\nodd parts', Role.VIEWER)
    scope["route_template"] = "/{status}"
    if scope["path"] == "/broken":
        raise RuntimeError("broken")
    await send({"type": "http.response.start", "status": int(scope["path"][1:4]), "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def ask(path, **headers):
    transport = httpx.ASGITransport(RequestLog(page), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
        answer = await client.get(path)
    await asyncio.sleep(0)  # the turn in which requests end is told of when it is over
    return answer


@pytest.fixture
def lines(capsys, monkeypatch):
    """The lines written since the last look."""
    monkeypatch.setattr(telemetry._ENDED, "is_logged", True)
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


async def test_a_request_gets_one_line_with_everything_about_it(lines):
    answer = await ask("/204")
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line.pop("ms") >= 0
    assert line == {
        "method": "GET",
        "path": "/204",
        "status": 204,
        "request_id": answer.headers["x-request-id"],
        "caller": 'name "with"\nodd parts',
        "event": "request",
        "level": "info",
    }


@given(text=st.text(min_size=1, max_size=20))
async def test_no_path_breaks_out_of_its_line(text):
    with redirect_stderr(io.StringIO()) as written, pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry._ENDED, "is_logged", True)
        await ask("/200" + quote(text, safe=""))
    (line,) = written.getvalue().splitlines()
    assert json.loads(line)["path"] == "/200" + text


async def test_a_defect_is_a_line_too(lines):
    await ask("/broken")
    assert [line["status"] for line in lines() if line["event"] == "request"] == [500]


def test_the_cause_of_a_defect_is_found_by_the_id_that_its_caller_was_told(monkeypatch):
    logged = CapturingLogger()  # in the logger's place: once used, it keeps how logging was set up first
    monkeypatch.setattr(problems, "log", logged)
    answer = problems.answer_error(ValueError("why"), {"path": "/x", "state": {"request_id": "abc"}})
    assert json.loads(answer.body)["request_id"] == "abc"
    assert [(call.args, call.kwargs["request_id"]) for call in logged.calls] == [
        (("unplanned_error",), "abc")
    ]


@pytest.mark.parametrize(("sent", "is_taken"), [("abc-1/2", True), ('x"y', False), ("a" * 129, False)])
async def test_a_request_id_is_taken_over_where_it_is_harmless(sent, is_taken):
    answer = await ask("/200", **{"x-request-id": sent})
    assert (answer.headers["x-request-id"] == sent) is is_taken


async def test_nothing_is_written_where_the_level_says_so_but_all_is_counted(capsys, monkeypatch):
    monkeypatch.setattr(telemetry._ENDED, "is_logged", False)
    counted = REQUESTS.labels("GET", "/{status}", 299)
    before = counted._value.get()
    await ask("/299")
    assert capsys.readouterr().err == ""
    assert counted._value.get() == before + 1


COUNT = "from app.core.telemetry import REQUESTS; REQUESTS.labels('GET', '/x', 200).inc({})"
TELL = "from app.core.telemetry import exposition; print(exposition().decode())"


def test_the_processes_of_a_replica_add_up_even_those_that_are_gone(tmp_path):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "counter_1.db").write_bytes(b"of a run before")
    environment = os.environ | shared_metrics(tmp_path)

    def run(program):
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    run(COUNT.format(2))
    run(COUNT.format(3))
    assert 'http_requests_total{method="GET",route="/x",status="200"} 5.0' in run(TELL)


HOLD = """
from prometheus_client import Gauge
gauge = Gauge("held", "What is held now.", multiprocess_mode="livesum")
gauge.set({})
print(__import__("os").getpid(), flush=True)
__import__("sys").stdin.read()
"""


def test_what_a_process_held_is_told_until_it_ends(tmp_path):
    environment = os.environ | shared_metrics(tmp_path)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLD.format(value)], env=environment, **pipes)
        for value in (2, 3)
    ]
    told = []
    for holder in holders:
        holder.stdout.readline()
    for holder in holders:
        told.append(subprocess.check_output([sys.executable, "-c", TELL], env=environment, text=True))
        holder.communicate()
    assert ["held 5.0" in told[0], "held 3.0" in told[1]] == [True, True]
