"""What is logged while the database is away: changes of state, and a reminder a minute for each kind of work."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from structlog.testing import CapturingLogger

from app.core import clock, outage
from app.core.config import Settings
from app.core.database import Database
from app.core.embedded import embedded_postgres
from app.core.migrate import migrate
from app.core.outage import Outage
from app.evidence.frames import encode_frame
from app.traffic.live import RouteTable
from app.worker import run_worker
from tests.evidence.making import open_spool, scored_request
from tests.faults.harness import eventually

NOON = datetime(2025, 6, 2, 12, tzinfo=UTC)
REFUSED = ConnectionRefusedError(111, "Connection refused")


@pytest.fixture
def lines(monkeypatch):
    """The lines that are logged: (event, what it tells)."""
    logged = CapturingLogger()  # in the logger's place: once used, it keeps how logging was set up first
    monkeypatch.setattr(outage, "log", logged)
    return lambda: [(call.args[0], call.kwargs) for call in logged.calls]


@pytest.fixture
def at(monkeypatch):
    """Sets the clock to so many seconds after noon."""

    def set_clock(seconds):
        monkeypatch.setattr(clock, "now", lambda: NOON + timedelta(seconds=seconds))

    return set_clock


def test_an_outage_is_told_at_its_beginning_once_a_minute_and_at_its_end(lines, at):
    routes = Outage("routes")
    for second in range(130):
        at(second)
        routes.goes_on(REFUSED)
    at(130)
    routes.is_over(rows=7)
    routes.is_over(rows=8)
    since = {"work": "routes", "since": NOON.isoformat()}
    error = {"error": "ConnectionRefusedError: [Errno 111] Connection refused"}
    assert lines() == [
        ("database_away", since | error | {"attempts": 1}),
        ("database_away", since | error | {"attempts": 61}),
        ("database_away", since | error | {"attempts": 121}),
        ("database_back", since | {"attempts": 130, "after_seconds": 130.0, "rows": 7}),
    ]


def test_what_goes_well_from_the_start_is_not_told(lines):
    Outage("routes").is_over()
    assert lines() == []


def test_trouble_after_a_minute_without_any_is_another_outage(lines, at):
    requests = Outage("requests")
    for second in (0, 30, 91):
        at(second)
        requests.goes_on(REFUSED)
    assert [(told["since"][11:19], told["attempts"]) for _, told in lines()] == [
        ("12:00:00", 1),
        ("12:01:31", 1),
    ]


def test_a_statement_that_is_wrong_is_no_database_that_is_away(lines, at):
    at(0)
    seal = Outage("seal")
    seal.goes_on(ProgrammingError("SELECT secret", {"key": "secret"}, ValueError("no such table")))
    seal.is_over()
    assert [event for event, _ in lines()] == ["work_interrupted", "work_resumed"]
    assert lines()[0][1]["error"] == "ValueError: no such table"


def test_what_looked_like_another_trouble_is_told_as_an_outage_once_it_shows(lines, at):
    at(0)
    seal = Outage("seal")
    seal.goes_on(ProgrammingError("SELECT 1", None, ValueError("cut off")))
    for second in (1, 2):
        at(second)
        seal.goes_on(REFUSED)
    seal.is_over()
    assert [event for event, _ in lines()] == ["work_interrupted", "database_away", "database_back"]


def test_a_connection_that_was_cut_off_in_an_answer_is_a_database_that_is_away():
    met = ValueError("as the adapter tells it")
    met.__cause__ = asyncpg.InternalClientError("cannot switch to state 15")
    assert outage.is_connection_trouble(DBAPIError("SELECT 1", None, met))


def test_what_can_not_be_connected_to_is_away_however_that_is_told():
    assert outage.is_connection_trouble(OperationalError("SELECT 1", None, REFUSED))
    assert outage.is_connection_trouble(REFUSED)
    assert not outage.is_connection_trouble(ValueError("no"))


@pytest.fixture
async def own_postgres():
    """A server that this test may kill."""
    base_path = Path(tempfile.mkdtemp(prefix="switchyard-"))
    async with embedded_postgres(base_path) as server:
        await migrate(server.url)
        yield server
    shutil.rmtree(base_path)


async def test_each_kind_of_work_says_once_that_the_database_went_and_once_that_it_is_back(
    own_postgres, tmp_path, lines
):
    settings = Settings(database_url=own_postgres.url, base_path=tmp_path, log_level="warning")
    database, spool = Database(own_postgres.url), open_spool(tmp_path / "spool")
    works = {"routes", "notifications", "seal", "jobs", "clock", "shipping"}

    def said(event):
        return {told["work"] for name, told in lines() if name == event}

    worker = asyncio.create_task(run_worker(settings))
    async with RouteTable(database) as table:
        os.kill(own_postgres.pid, signal.SIGKILL)
        await own_postgres.wait()
        spool.append(encode_frame(scored_request()), encode_frame(scored_request()))
        await eventually(lambda: worker.done() or said("database_away") == works, within=60)
        await eventually(lambda: table.outage.attempts >= 5, within=60)
        await own_postgres.start()
        await eventually(lambda: worker.done() or said("database_back") == works, within=60)
    assert not worker.done(), worker.exception()
    worker.cancel()
    await asyncio.wait([worker])
    spool.close()
    await database.close()
    counted = Counter((event, told["work"]) for event, told in lines())
    assert counted["database_away", "routes"] < 5
    assert max(counted.values()) <= 8  # a connection that broke may be met by each of those that share it
    [shipped] = [told for event, told in lines() if (event, told["work"]) == ("database_back", "shipping")]
    assert shipped["rows_shipped"] == 2
