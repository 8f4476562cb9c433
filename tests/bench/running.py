"""A service under measurement: its database and worker on one core, its HTTP processes on the other."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.core.database import Database
from app.core.embedded import embedded_postgres
from app.core.migrate import migrate
from app.core.processes import listening
from tests.bench.load import Load

SERVICE_CORE, LOAD_CORE = 0, 1
READY_SECONDS = 60
KEPT = {name: value for name, value in os.environ.items() if not name.startswith(("SWITCHYARD_", "ML"))}


@dataclass(frozen=True)
class Running:
    """A service that answers."""

    port: int
    database_url: str
    base_path: Path
    http_pids: tuple[int, ...]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def running_service(base_path: Path, *, processes: int = 1) -> AsyncIterator[Running]:
    """Postgres, a worker and so many HTTP processes, ended by their ids when the block ends."""
    os.sched_setaffinity(0, {LOAD_CORE})
    async with embedded_postgres(base_path) as postgres:
        await migrate(postgres.url)
        with ExitStack() as stack:
            listener = stack.enter_context(listening("127.0.0.1", 0))
            output = stack.enter_context((base_path / "log").open("wb"))
            environment = environment_of(base_path, postgres.url)
            stack.enter_context(ended(start(["app.worker"], environment, output, LOAD_CORE)))
            children = [
                stack.enter_context(http_process(number, listener.fileno(), environment, output))
                for number in range(1, processes + 1)
            ]
            for _, readiness in children:
                await wait_for_word(readiness, base_path / "log")
            pids = tuple(process.pid for process, _ in children)
            yield Running(listener.getsockname()[1], postgres.url, base_path, pids)


def environment_of(base_path: Path, database_url: str) -> dict[str, str]:
    told = {"MLOPS_BASE_PATH": str(base_path), "ML_DATABASE_URL": database_url, "OMP_NUM_THREADS": "1"}
    return KEPT | told


def start(module: list[str], environment: dict[str, str], output, core: int, fds=()) -> subprocess.Popen:
    pin = partial(os.sched_setaffinity, 0, {core})
    command = [sys.executable, "-m", *module]
    return subprocess.Popen(
        command, env=environment, stdout=output, stderr=output, pass_fds=fds, preexec_fn=pin
    )


@contextmanager
def http_process(number: int, listener: int, environment, output) -> Iterator[tuple[subprocess.Popen, int]]:
    """An HTTP process, and the end of the pipe that tells when it is ready."""
    reader, writer = os.pipe()
    numbered = environment | {"SWITCHYARD_PROCESS": str(number)}
    module = ["app.server", f"--fd={listener}", f"--ready-fd={writer}"]
    process = start(module, numbered, output, SERVICE_CORE, (listener, writer))
    os.close(writer)
    with ended(process):
        yield process, reader
    os.close(reader)


@contextmanager
def ended(process: subprocess.Popen) -> Iterator[subprocess.Popen]:
    """A process that is stopped, and if need be killed, when the block ends."""
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def wait_for_word(pipe: int, log: Path) -> None:
    word = await asyncio.wait_for(asyncio.to_thread(os.read, pipe, 16), READY_SECONDS)
    assert word, log.read_text()[-5000:]


async def press_from_other_core(
    running: Running, requests: list[bytes], *, seconds: float, connections: int = 16
) -> Load:
    """Load from a process of its own on the load's core; the connections take turns with the requests."""
    options = [f"--port={running.port}", f"--connections={connections}", f"--seconds={seconds}", f"--core={LOAD_CORE}"]
    loader = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.load", *options, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    answer, _ = await loader.communicate(requests[0])
    return Load(**json.loads(answer))


def get(path: str) -> bytes:
    """The bytes of one GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def cpu_seconds(pids: tuple[int, ...]) -> float:
    """The processor time that processes have used so far."""
    ticks = os.sysconf("SC_CLK_TCK")
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / ticks


@asynccontextmanager
async def database_of(running: Running) -> AsyncIterator[Database]:
    database = Database(running.database_url)
    try:
        yield database
    finally:
        await database.close()


def passed_since(began: float) -> float:
    return time.perf_counter() - began
