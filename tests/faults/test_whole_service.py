"""D10, D11, S9: the whole service is killed, piece by piece, while it is used; nothing acknowledged is lost."""

import asyncio
import json
import shutil
import signal
import tempfile
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest

from app.core.embedded import find_running_url
from tests.faults.harness import WHOLE, Client, eventually, service
from tests.real_models import bring_to_production, instances, register

HTTP, WORKER = "app.server", "app.worker"
THINK_SECONDS = 0.05


@pytest.fixture(scope="module")
async def whole():
    """One service with two HTTP processes, its own Postgres, and a model in production."""
    path = Path(tempfile.mkdtemp(prefix="switchyard-"))
    with service(path, command=WHOLE, workers=1, database=None) as running:
        async with client_of(running) as client:
            await bring_to_production(client, "bc")
            assert (await register(client, "bc", seed=1)).status_code == 201
            assert (await client.post("/api/models/bc:2/validate", json={})).status_code == 200
        running.base_path = path
        yield running
    shutil.rmtree(path)


def client_of(running):
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=60)


async def fetch(running, query, *values):
    url = find_running_url(running.base_path).replace("+asyncpg", "")
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(query, *values)
    finally:
        await connection.close()


class Callers:
    """Clients that ask for predictions, and remember each one that they were given."""

    def __init__(self, running):
        self.running, self.given, self.refused, self.cut = running, [], [], 0
        self.stop = asyncio.Event()

    async def call(self):
        async with client_of(self.running) as client:
            while not self.stop.is_set():
                await self._once(client)
                await asyncio.sleep(THINK_SECONDS)

    async def _once(self, client):
        try:
            answer = await client.post("/api/models/bc/predict", json={"instances": instances(2)})
        except httpx.TransportError:
            self.cut += 1
            return
        if answer.status_code == 200:
            self.given += [each["prediction_id"] for each in answer.json()["predictions"]]
        else:
            self.refused.append(answer.text)


@asynccontextmanager
async def predicting(running, clients=4):
    """Predictions are asked for while the block lasts; at its end each given one is in the log once."""
    callers = Callers(running)
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(callers.call())
        try:
            await eventually(lambda: len(callers.given) > 10, within=30)
            yield callers
        finally:
            callers.stop.set()

    async def are_all_logged():
        rows = await fetch(
            running, "SELECT id::text FROM prediction WHERE id = ANY($1::text[]::uuid[])", callers.given
        )
        return sorted(row["id"] for row in rows) == sorted(callers.given)

    assert len(set(callers.given)) == len(callers.given)
    await eventually(are_all_logged, within=45)


async def is_writable(running):
    async with client_of(running) as client:
        answer = await client.patch("/api/models/bc", json={"description": str(time.monotonic())})
        assert answer.status_code in {200, 503}, answer.text
        return answer.status_code == 200


async def accepts(running):
    with suppress(OSError, asyncpg.PostgresError, AttributeError):
        return bool(await fetch(running, "SELECT 1"))
    return False


@pytest.mark.parametrize("order", [signal.SIGKILL, signal.SIGINT], ids=["killed", "stopped"])
async def test_predictions_go_on_while_postgres_is_away_and_writes_follow_its_return(whole, order):
    async with predicting(whole) as callers:
        postmaster = whole.children("postgres -D")[0]
        postmaster.send_signal(order)
        await eventually(lambda: not postmaster.is_running() or postmaster.status() == psutil.STATUS_ZOMBIE)
        given = len(callers.given)
        await eventually(lambda: accepts(whole), within=45)
        assert await eventually(lambda: is_writable(whole), within=5) < 5
        await eventually(lambda: len(callers.given) > given + 10, within=5)
    assert callers.refused == []
    assert callers.cut == 0


async def test_a_killed_http_process_loses_no_prediction_that_it_gave(whole):
    async with predicting(whole) as callers:
        whole.children(HTTP)[0].kill()
        given = len(callers.given)
        await eventually(lambda: len(callers.given) > given + 10, within=60)
    assert callers.refused == []


async def test_a_killed_worker_ships_every_prediction_once(whole):
    async with predicting(whole) as callers:
        victim = whole.children(WORKER)[0]
        victim.kill()
        await eventually(
            lambda: [each.pid for each in whole.children(WORKER)] not in ([], [victim.pid]), within=10
        )
    assert callers.refused == []
    assert callers.cut == 0


async def test_an_upload_cut_off_by_a_kill_leaves_no_row_and_no_file(whole):
    blobs = sorted((whole.base_path / "artifacts").rglob("*"))
    upload = Client(whole.port)
    head = (
        b"POST /api/models HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    )
    part = b'--b\r\nContent-Disposition: form-data; name="artifact"; filename="m.skops"\r\n\r\n' + bytes(
        3_000_000
    )
    await upload.send(head + b"Content-Length: 9000000\r\n\r\n" + part)
    victim = whole.children(HTTP)[0]
    victim.kill()
    await upload.close()
    async with client_of(whole) as client:
        assert (await client.get("/api/models/bc/versions")).status_code == 200
    assert sorted((whole.base_path / "artifacts").rglob("*")) == blobs
    assert [*(whole.base_path / "staging").glob("*/*/*")] == []
    [row] = await fetch(whole, "SELECT count(*) FROM version")
    assert row["count"] == 2


async def test_a_kill_in_the_midst_of_a_promote_leaves_it_whole_or_undone(whole):
    promote = Client(whole.port)
    body = json.dumps({"reason": "killed"}).encode()
    head = f"POST /api/models/bc:2/promote HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    await promote.send(head.encode() + body)
    await asyncio.sleep(0.1)  # into the work: where exactly must not matter
    for victim in (*whole.children(HTTP), *whole.children(WORKER)):
        victim.kill()
    await promote.close()

    async def has_settled():
        return not await fetch(whole, "SELECT 1 FROM deployment WHERE phase = 'preparing'")

    await eventually(has_settled, within=60)
    [row] = await fetch(
        whole,
        """
        SELECT tenure.version_id::text AS reigns, revision.arms -> 0 ->> 'version_id' AS answers, stage
        FROM tenure JOIN version ON version.id = tenure.version_id
        JOIN route ON route.model_id = tenure.model_id
        JOIN route_revision revision ON revision.route_id = route.id AND revision.number = route.revision
        WHERE ended_at IS NULL
        """,
    )
    assert row["reigns"] == row["answers"]
    assert row["stage"] == "production"
    async with client_of(whole) as client:
        answer = await client.post("/api/models/bc/predict", json={"instances": instances()})
        assert answer.status_code == 200
