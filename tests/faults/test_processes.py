"""D10, D11, S9: processes are stopped, replaced and killed, and callers hardly notice."""

import asyncio
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.faults.harness import Client, eventually, is_refused, load, service

pytestmark = pytest.mark.faults

HTTP = "app.server"
HALF_A_POST = b"POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf"


@pytest.fixture
def base_path():
    path = Path(tempfile.mkdtemp(prefix="switchyard-"))
    yield path
    shutil.rmtree(path)


async def ask(port, path="/"):
    async with Client(port) as client:
        return (await client.request(path))[2]


async def test_sigterm_fails_no_request_of_a_hundred_clients_and_waits_for_no_half_sent_one(base_path):
    with service(base_path, workers=2) as running:
        halves = [Client(running.port) for _ in range(10)]
        for half in halves:
            await half.send(HALF_A_POST)
        async with (
            load(running.port, clients=40) as kept,
            load(running.port, clients=40, keep_alive=False) as fresh,
            load(running.port, clients=20, path="/slow") as slow,
        ):
            await asyncio.sleep(1.5)
            running.signal(signal.SIGTERM)
            seconds = await eventually(lambda: running.process.poll() is not None, within=8)
        assert kept.failures == fresh.failures == slow.failures == []
        assert (kept.refused, fresh.refused, slow.refused) == (40, 40, 20)
        assert min(kept.answered, fresh.answered) > 100
        assert slow.answered >= 20
        assert seconds < 6
        assert running.process.returncode == 0
        for half in halves:
            status, headers, _ = await half.read_answer()
            assert (status, headers["connection"]) == (408, "close")
            await half.close()


async def test_a_rolling_restart_under_load_replaces_every_process_and_fails_no_request(base_path):
    with service(base_path, workers=2) as running:
        before = {child.pid for child in running.children(HTTP)}
        async with (
            load(running.port, clients=30) as tally,
            load(running.port, clients=10, path="/slow") as slow,
        ):
            await asyncio.sleep(0.5)
            running.signal(signal.SIGHUP)
            await eventually(lambda: not before & {child.pid for child in running.children(HTTP)}, within=15)
            await asyncio.sleep(0.3)
        after = {child.pid for child in running.children(HTTP)}
        assert tally.failures == slow.failures == []
        assert len(after) == 2
        assert tally.refused == slow.refused == 0
        assert after & set(tally.by_pid)


async def test_a_process_and_its_replacement_never_share_a_number(base_path):
    with service(base_path, workers=1) as running:
        first = await ask(running.port)
        running.signal(signal.SIGHUP)
        await eventually(
            lambda: first["pid"] not in {child.pid for child in running.children(HTTP)}, within=10
        )
        second = await ask(running.port)
        assert (first["number"], second["number"]) == ("1", "2")


async def test_a_killed_http_process_is_replaced_while_the_others_answer(base_path):
    with service(base_path, workers=2) as running:
        victim = running.children(HTTP)[0]
        victim.kill()
        async with load(running.port, clients=10, keep_alive=False) as tally:
            await eventually(lambda: len(tally.by_pid) == 2, within=10)
        assert victim.pid not in tally.by_pid
        assert tally.failures == []


async def test_a_killed_worker_is_replaced(base_path):
    with service(base_path) as running:
        (victim,) = running.children("time.sleep")
        victim.kill()
        await eventually(
            lambda: [child.pid for child in running.children("time.sleep")] not in ([], [victim.pid]),
            within=5,
        )


async def test_a_killed_postgres_is_back_within_seconds_at_the_same_address(base_path):
    with service(base_path, database=None) as running:
        postmaster = running.children("postgres -D")[0]
        postmaster.kill()
        await eventually(lambda: not postmaster.is_running() or postmaster.status() == psutil.STATUS_ZOMBIE)

        async def is_back():
            return await ask(running.port, "/database") == {"database": "here"}

        await eventually(is_back, within=5)


async def test_a_killed_supervisor_leaves_nothing_behind_and_the_next_start_works(base_path):
    with service(base_path, workers=2, database=None) as running:
        family = psutil.Process(running.process.pid).children(recursive=True)
        assert len(family) > 5
        running.process.kill()
        running.process.wait()
        with service(base_path, database=None) as successor:
            assert await ask(successor.port, "/database") == {"database": "here"}
        await eventually(lambda: not any(member.is_running() for member in family), within=5)
        assert is_refused(running.port)


async def test_stopping_ends_every_process(base_path):
    with service(base_path, database=None) as running:
        family = psutil.Process(running.process.pid).children(recursive=True)
        assert running.stop() == 0
        assert not any(member.is_running() for member in family)


async def test_two_services_on_one_base_path_are_one_too_many(base_path):
    with service(base_path), pytest.raises(AssertionError, match="in use by process"), service(base_path):
        pass


async def test_ctrl_c_in_the_terminal_drains_like_sigterm(base_path):
    with service(base_path) as running:
        async with load(running.port, clients=10) as tally:
            await asyncio.sleep(0.3)
            running.signal(signal.SIGINT)
            await eventually(lambda: running.process.poll() is not None, within=8)
        assert tally.failures == []


async def test_a_second_signal_does_not_wait_for_the_drain(base_path):
    with service(base_path, drain_seconds=60) as running:
        client = Client(running.port)
        await client.send(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        running.signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        running.signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(0)
        await eventually(lambda: running.process.poll() is not None, within=3)
        await client.close()


async def test_a_rolling_restart_into_a_broken_version_leaves_the_old_processes_answering(base_path):
    with service(base_path) as running:
        before = await ask(running.port)
        (base_path / "broken").touch()
        running.signal(signal.SIGHUP)
        await eventually(lambda: "reload_stopped" in running.log(), within=10)
        assert (await ask(running.port))["pid"] == before["pid"]


async def test_an_application_that_does_not_start_ends_the_service_with_a_reason(base_path):
    (base_path / "broken").touch()
    with pytest.raises(AssertionError, match="http 1 did not become ready") as failure, service(base_path):
        pass
    assert "Unknown child process" not in str(failure.value)


async def test_a_taken_port_ends_the_service_with_a_reason(base_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(AssertionError, match="can't listen on"),
        service(base_path, port=other.getsockname()[1]),
    ):
        pass
