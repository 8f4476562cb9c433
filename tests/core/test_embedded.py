"""S6: without `ML_DATABASE_URL` the service runs a real Postgres of its own, which survives what may happen to it."""

import asyncio
import os
import shutil
import signal
import tempfile
from pathlib import Path

import asyncpg
import pytest

from app.core.embedded import DatabaseStartFailed, embedded_postgres, find_running_url
from app.core.processes import DirectoryTaken, processes_in


@pytest.fixture
def base_path():
    """A directory outside pytest's own, which every session makes private again under a running server's feet."""
    path = Path(tempfile.mkdtemp(prefix="switchyard-"))
    yield path
    shutil.rmtree(path)


async def ask(postgres, statement):
    connection = await asyncpg.connect(postgres.url.replace("+asyncpg", ""), timeout=5)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_a_new_one_is_durable_speaks_utf8_and_utc_and_listens_on_no_port(base_path):
    async with embedded_postgres(base_path) as postgres:
        assert await ask(postgres, "select current_database()") == "switchyard"
        assert await ask(postgres, "show server_encoding") == "UTF8"
        assert await ask(postgres, "show timezone") == "UTC"
        assert await ask(postgres, "show fsync") == "on"
        assert await ask(postgres, "show listen_addresses") == ""


async def test_what_was_committed_is_there_at_the_next_start(base_path):
    async with embedded_postgres(base_path, durable=False) as postgres:
        await ask(postgres, "create table kept as select 42 as answer")
    async with embedded_postgres(base_path, durable=False) as postgres:
        assert await ask(postgres, "select answer from kept") == 42


async def test_a_killed_server_comes_back_with_what_it_had_acknowledged(base_path):
    async with embedded_postgres(base_path) as postgres:
        await ask(postgres, "create table kept as select 42 as answer")
        busy = asyncio.create_task(ask(postgres, "select count(*) from generate_series(1, 1000000000)"))
        await asyncio.sleep(0.2)
        os.kill(postgres.pid, signal.SIGKILL)
        await postgres.wait()
        await postgres.start()
        assert await ask(postgres, "select answer from kept") == 42
        assert isinstance((await asyncio.gather(busy, return_exceptions=True))[0], Exception)


async def test_a_pid_file_whose_number_another_program_has_by_now_does_not_stop_the_start(base_path):
    async with embedded_postgres(base_path, durable=False):
        pid_file = base_path / "postgres" / "data" / "postmaster.pid"
        left = pid_file.read_text().split("\n")
    pid_file.write_text("\n".join([str(os.getppid()), *left[1:]]))
    async with embedded_postgres(base_path, durable=False) as postgres:
        assert await ask(postgres, "select 1") == 1


async def test_an_interrupted_creation_is_begun_afresh(base_path):
    draft = base_path / "postgres" / "data.draft"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")
    async with embedded_postgres(base_path, durable=False) as postgres:
        assert await ask(postgres, "select 1") == 1
    assert not draft.exists()


async def test_a_second_one_on_the_same_path_is_refused_by_name_of_the_first(base_path):
    async with embedded_postgres(base_path, durable=False):
        with pytest.raises(DirectoryTaken, match=f"in use by process {os.getpid()}"):
            async with embedded_postgres(base_path):
                pass


async def test_a_path_too_long_for_a_socket_gets_a_short_private_one(base_path):
    deep = base_path / ("long" * 25)
    async with embedded_postgres(deep, durable=False) as postgres:
        sockets = Path(postgres.url.partition("?host=")[2])
        assert not sockets.is_relative_to(base_path)
        assert sockets.stat().st_mode & 0o077 == 0
        assert await ask(postgres, "select 1") == 1
    shutil.rmtree(sockets)


async def test_a_path_with_spaces_and_signs_is_quoted_in_the_address(base_path):
    async with embedded_postgres(base_path / "a b&c=d%", durable=False) as postgres:
        assert await ask(postgres, "select 1") == 1


async def test_the_address_of_a_running_one_is_found_by_its_path(base_path):
    assert find_running_url(base_path) is None
    async with embedded_postgres(base_path, durable=False) as postgres:
        assert find_running_url(base_path) == postgres.url
    assert find_running_url(base_path) is None


async def test_stopping_leaves_no_process_behind(base_path):
    async with embedded_postgres(base_path, durable=False):
        assert processes_in(base_path / "postgres" / "data")
    assert not processes_in(base_path / "postgres" / "data")


async def test_a_cluster_that_can_not_start_says_why(base_path):
    async with embedded_postgres(base_path, durable=False):
        version = base_path / "postgres" / "data" / "PG_VERSION"
    version.write_text("9\n")
    with pytest.raises(DatabaseStartFailed, match=r"(?s)postgres ended at its start.*incompatible"):
        async with embedded_postgres(base_path):
            pass
