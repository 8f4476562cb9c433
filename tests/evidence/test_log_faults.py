"""D11: over kill -9 of who answers, of who ships and of the database, every acknowledged prediction is logged once."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from app.core.database import Database
from app.core.embedded import embedded_postgres
from app.core.migrate import migrate
from app.evidence.frames import encode_frame
from app.evidence.shipper import ship_forever
from tests.conftest import TESTER
from tests.evidence.making import count, logged_ids, open_spool, scored_request, ship_all

ROOT = Path(__file__).parents[2]


async def run_crashing(*arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.evidence.crashing", *arguments,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()[-2000:]
    return said


async def test_whoever_is_killed_when_each_acknowledged_prediction_is_logged_once(database, tmp_path):
    async with database.writes(TESTER) as session:  # so that it is not the key that keeps doubles out
        await session.execute(text("ALTER TABLE prediction DROP CONSTRAINT pk_prediction"))
    said, _ = await asyncio.gather(
        run_crashing("write", str(tmp_path), "25"),
        run_crashing("ship", str(tmp_path), "12", database.url),
    )
    shipped_by_the_killed = await count(database, "SELECT count(*) FROM prediction")
    await ship_all(database, tmp_path)
    acknowledged = {UUID(bytes=said[i : i + 16]) for i in range(0, len(said), 16)}
    logged = await logged_ids(database)
    assert len(logged) == len(set(logged))
    assert acknowledged <= set(logged)
    assert len(set(logged) - acknowledged) <= 25 * 20, "at most one unacknowledged request for each kill"
    assert shipped_by_the_killed > 0
    assert not list(tmp_path.glob("quarantine/*")), (
        "a kill may cut a write off between two pages, and no other way"
    )
    torn = await count(database, "SELECT count(*) FROM spool_position WHERE lost_bytes > 0")
    assert torn <= 25, "at most the frame that each killed writer was at"


@pytest.fixture
async def own_postgres():
    """A server that this test may kill."""
    base_path = Path(tempfile.mkdtemp(prefix="switchyard-"))
    async with embedded_postgres(base_path) as server:
        await migrate(server.url)
        yield server
    shutil.rmtree(base_path)


async def test_predictions_go_on_while_the_database_is_dead_and_are_logged_after_its_return(
    own_postgres, tmp_path
):
    database, spool, ids = Database(own_postgres.url), open_spool(tmp_path), []
    shipping = asyncio.create_task(ship_forever(database, tmp_path))
    predicting = asyncio.create_task(predict_steadily(spool, ids))
    await until(lambda: is_logged(database, ids[:5]))
    os.kill(own_postgres.pid, signal.SIGKILL)
    await own_postgres.wait()
    acknowledged = len(ids)
    await asyncio.sleep(1)
    assert len(ids) > acknowledged + 50
    await own_postgres.start()
    waiting = list(ids)
    await until(lambda: is_logged(database, waiting))
    for task in (predicting, shipping):
        task.cancel()
    await asyncio.gather(predicting, shipping, return_exceptions=True)
    spool.close()
    await ship_all(database, tmp_path)
    assert await logged_ids(database) == sorted(ids)
    await database.close()


async def predict_steadily(spool, ids):
    while True:
        scored = scored_request()
        spool.append(encode_frame(scored))
        ids.extend(scored.ids)
        await asyncio.sleep(0.005)


async def is_logged(database, ids):
    with suppress(Exception):  # while it is away
        return bool(ids) and set(ids) <= set(await logged_ids(database))
    return False


async def until(condition):
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens in Postgres
            await asyncio.sleep(0.05)
