"""D10, D11, S9: connections are cut, pools are empty, disks are full; what was promised holds all the same."""

import asyncio
from contextlib import suppress

import pytest
from sqlalchemy.engine import make_url

from app.core.config import MIB, Settings
from tests.conftest import client_of, running
from tests.disks import may_mount, small_disk
from tests.faults.houses import open_house
from tests.real_models import bring_to_production, instances, register

PREDICT = "/api/models/bc/predict"
ONE_ROW = {"instances": instances()}


@pytest.fixture(scope="module")
async def house(postgres_url, template, tmp_path_factory):
    directory = tmp_path_factory.mktemp("neighbours")
    async with open_house(postgres_url, template, directory, "neighbours") as (app, client, url):
        await bring_to_production(client, "bc")
        assert (await client.post(PREDICT, json=ONE_ROW)).status_code == 200
        yield app, client, url


class Wire:
    """A proxy in front of Postgres that can swallow the answer to the next COMMIT and hang up."""

    def __init__(self, url):
        self.target = make_url(url)
        self.cut_after_commit = False

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        self.url = self.target.set(host="127.0.0.1", port=port, query={}).render_as_string(
            hide_password=False
        )
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def _connect(self):
        socket = self.target.query.get("host")
        if socket:
            port = self.target.query.get("port") or self.target.port or 5432
            return await asyncio.open_unix_connection(f"{socket}/.s.PGSQL.{port}")
        return await asyncio.open_connection(self.target.host, self.target.port)

    async def _carry(self, reader, writer):
        far_reader, far_writer = await self._connect()
        ways = [
            self._forward(reader, far_writer, writer, to_server=True),
            self._forward(far_reader, writer, writer),
        ]
        await asyncio.wait([asyncio.ensure_future(way) for way in ways], return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, far_writer):
            end.close()

    async def _forward(self, reader, writer, client, *, to_server=False):
        while piece := await reader.read(65536):
            if not to_server and self.cut_after_commit and b"COMMIT\0" in piece:
                self.cut_after_commit = False
                client.transport.abort()
                return
            writer.write(piece)
            await writer.drain()


async def make_key(client, name, **headers):
    return await client.post("/api/system/keys", json={"name": name, "role": "admin"}, headers=headers)


async def test_a_connection_cut_after_commit_and_a_repeated_key_give_one_change_and_its_answer(
    database_url, tmp_path
):
    async with Wire(database_url) as wire:
        settings = Settings(database_url=wire.url, base_path=tmp_path, log_level="error")
        async with running(settings) as app, client_of(app) as client:
            made = await make_key(client, "first")
            client.headers["authorization"] = f"Bearer {made.json()['key']}"
            for turn in range(50):  # the cut may meet a transaction of the worker instead
                wire.cut_after_commit = True
                answer = await make_key(client, f"key {turn}", **{"Idempotency-Key": str(turn)})
                if answer.status_code == 503:
                    break
            assert answer.status_code == 503
            again = await make_key(client, f"key {turn}", **{"Idempotency-Key": str(turn)})
            assert again.status_code == 201, again.text
            assert again.headers["idempotency-replayed"] == "true"
            listed = (await client.get("/api/system/keys")).json()["items"]
            assert [each["id"] for each in listed if each["name"] == f"key {turn}"] == [again.json()["id"]]


async def test_predictions_and_liveness_do_not_wait_for_an_empty_pool(house):
    app, client, _ = house
    engines = {app.state.database.engine, app.state.database.reading_engine}
    async with asyncio.timeout(20):
        held = [await engine.connect() for engine in engines for _ in range(20)]
        try:
            refused = asyncio.create_task(client.get("/api/models"))
            for path in ("/livez", PREDICT):
                call = client.get(path) if path == "/livez" else client.post(path, json=ONE_ROW)
                assert (await asyncio.wait_for(call, 2)).status_code == 200
            answer = await refused
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
        finally:
            for connection in held:
                await connection.close()
    assert (await client.get("/api/models")).status_code == 200


def fill(path):
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


needs_root = pytest.mark.skipif(not may_mount(), reason="only root may mount a file system")


@needs_root
async def test_a_full_disk_under_the_spool_answers_507_until_there_is_room_again(
    postgres_url, template, tmp_path
):
    with small_disk(MIB) as disk:
        (tmp_path / "spool").symlink_to(disk)
        async with open_house(postgres_url, template, tmp_path, "full_spool") as (_, client, _):
            await bring_to_production(client, "bc")
            filler = tmp_path / "spool" / "filler"
            fill(filler)
            answer = await client.post(PREDICT, json={"instances": instances(100)})
            assert answer.status_code == 507, answer.text
            assert (await client.get("/livez")).status_code == 200
            filler.unlink()
            answer = await client.post(PREDICT, json=ONE_ROW)
            assert answer.status_code == 200


@needs_root
async def test_a_full_disk_under_the_artifacts_answers_507_and_leaves_no_part_of_a_blob(
    postgres_url, template, tmp_path
):
    with small_disk(64 * 1024) as disk:
        (tmp_path / "artifacts").symlink_to(disk)
        async with open_house(postgres_url, template, tmp_path, "full_store") as (_, client, _):
            (tmp_path / "artifacts" / "filler").write_bytes(bytes(60 * 1024))
            answer = await register(client, "bc")
            assert answer.status_code == 507, answer.text
            assert (await client.get("/api/models/bc")).status_code == 404
            left = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
            assert [path.name for path in left if path.stat().st_size == 0 or "#" in path.name] == []
            (tmp_path / "artifacts" / "filler").unlink()
        staging = tmp_path / "staging"
        assert not staging.exists() or list(staging.iterdir()) == []
