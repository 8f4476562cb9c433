"""P7, S9: a worker that is stopped (SIGSTOP) keeps nobody from its job, its lead or its rows, and comes back too late."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from app.core.database import FROZEN_SECONDS
from app.core.jobs import LEASE
from app.registry.actions import CONVERT
from tests.conftest import TESTER, run_sql
from tests.faults.harness import ROOT, WHOLE, eventually, service
from tests.faults.test_whole_service import client_of
from tests.real_models import register

pytestmark = pytest.mark.faults

CONVERSION = f"SELECT state, fence, attempts FROM job WHERE kind = '{CONVERT}'"
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)
CHOSEN = "SELECT count(*) FROM fact WHERE kind = 'ServingFormChosen'"


@pytest.fixture
def base_path():
    path = Path(tempfile.mkdtemp(prefix="switchyard-"))
    yield path
    shutil.rmtree(path)


@asynccontextmanager
async def watching(database_url):
    """A connection to ask the database itself."""
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    try:
        yield connection
    finally:
        await connection.close()


@contextmanager
def second_worker(first, database_url):
    """A worker on another machine: a base path of its own, the same database, store and signing key."""
    base_path = first / "elsewhere"
    base_path.mkdir()
    told = {
        "MLOPS_BASE_PATH": str(base_path),
        "ML_DATABASE_URL": database_url,
        "ARTIFACT_STORAGE_PATH": str(first / "artifacts"),
        "SWITCHYARD_SIGNING_KEY_FILE": str(first / "keys" / "artifact-signing.pem"),
    }
    log = base_path / "log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "app.worker"]
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | told, stdout=output, stderr=output)
    try:
        yield log
    finally:
        process.terminate()
        process.wait(20)


async def test_a_stopped_workers_job_and_lead_go_to_another_and_coming_back_it_does_nothing_twice(
    base_path, database_url
):
    with service(base_path, command=WHOLE, database=database_url) as running:
        async with client_of(running) as client, watching(database_url) as database:
            [worker] = running.children("app.worker")
            await eventually(lambda: "leading" in running.log(), within=15)
            async with stopped_at_the_last_step(worker, client, database):
                with second_worker(base_path, database_url) as log:
                    await eventually(lambda: "leading" in log.read_text(), within=30)
                    await eventually(lambda: has_ended(database), within=LEASE.total_seconds() + 20)
                    worker.resume()
                    await eventually(lambda: "job_lease_lost" in running.log(), within=15)
            assert tuple(await database.fetchrow(CONVERSION)) == ("done", 2, 2)
            assert await database.fetchval(CHOSEN) == 1
            assert [each.pid for each in running.children("app.worker")] == [worker.pid]
            assert (await client.get("/api/models/bc:1")).json()["served_as"] == "onnx"


@asynccontextmanager
async def stopped_at_the_last_step(worker, client, database):
    """A worker that is stopped while it holds a conversion's job and, once we let go of it, the version's row."""
    worker.suspend()
    assert (await register(client, "bc", serve_as="auto")).status_code == 201
    async with database.transaction():
        await database.execute("SELECT * FROM version FOR UPDATE")
        worker.resume()
        await eventually(lambda: database.fetchval(WAITING), within=30)
        worker.suspend()
    try:
        yield
    finally:
        worker.resume()


async def has_ended(database):
    return (await database.fetchrow(CONVERSION))["state"] == "done"


HOLDER = """
import asyncio, os, sys
from sqlalchemy import text
from app.core.database import Actor, Database

async def hold():
    async with Database(sys.argv[1]).writes(Actor("holder", "system")) as session:
        while not await session.scalar(text("SELECT to_regclass('held')::text")):
            await asyncio.sleep(0.05)
        await session.execute(text("SELECT * FROM held FOR UPDATE"))
        print("held", flush=True)
        await asyncio.sleep(3600)

asyncio.run(hold())
"""


@pytest.fixture
def holder(database_url):
    """A process that holds a row for good."""
    command = [sys.executable, "-c", HOLDER, database_url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


async def test_rows_that_a_stopped_process_had_locked_are_free_before_its_lease_is_over(
    database_url, database, holder
):
    assert LEASE.total_seconds() > FROZEN_SECONDS
    await run_sql(database_url, "CREATE TABLE held AS SELECT 1 AS one")
    assert holder.stdout.readline() == b"held\n"
    holder.send_signal(signal.SIGSTOP)
    async with database.writes(TESTER) as session:
        await session.execute(text(f"SET LOCAL lock_timeout = '{LEASE.total_seconds()}s'"))
        await session.execute(text("UPDATE held SET one = 2"))
