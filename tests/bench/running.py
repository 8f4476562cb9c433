"""A service under measurement: its database and worker on one core, its HTTP processes on the other."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from app.core.database import Database
from app.core.embedded import embedded_postgres
from app.core.migrate import migrate
from app.core.processes import listening
from app.core.telemetry import shared_metrics
from tests.bench.load import HEAD_END, Load, answer_size

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
    ports: tuple[int, ...] = ()
    """Of each HTTP process; `port` is the first one's."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def running_service(base_path: Path, *, processes: int = 1) -> AsyncIterator[Running]:
    """Postgres, a worker and HTTP processes, each with a port of its own; ended by their ids when the block ends."""
    os.sched_setaffinity(0, {LOAD_CORE})
    async with embedded_postgres(base_path) as postgres:
        await migrate(postgres.url)
        with ExitStack() as stack:
            output = stack.enter_context((base_path / "log").open("wb"))
            environment = environment_of(base_path, postgres.url) | shared_metrics(base_path)
            stack.enter_context(ended(start(["app.worker"], environment, output, LOAD_CORE)))
            listeners = [stack.enter_context(listening("127.0.0.1", 0)) for _ in range(processes)]
            children = [
                stack.enter_context(http_process(number, listener.fileno(), environment, output))
                for number, listener in enumerate(listeners, 1)
            ]
            for _, readiness in children:
                await wait_for_word(readiness, base_path / "log")
            pids = tuple(process.pid for process, _ in children)
            ports = tuple(listener.getsockname()[1] for listener in listeners)
            yield Running(ports[0], postgres.url, base_path, pids, ports)


def environment_of(base_path: Path, database_url: str) -> dict[str, str]:
    told = {"MLOPS_BASE_PATH": str(base_path), "ML_DATABASE_URL": database_url, "OMP_NUM_THREADS": "1"}
    return KEPT | told


def start(module: list[str], environment: dict[str, str], output, core: int, fds=()) -> subprocess.Popen:
    pin = partial(os.sched_setaffinity, 0, {core})
    command = [sys.executable, "-m", *module]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=output,
        stderr=output,
        pass_fds=fds,
        preexec_fn=pin,  # noqa: PLW1509 - it only pins
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
    running: Running, request: bytes, *, seconds: float, connections: int = 16
) -> Load:
    """Load from a process of its own on the load's core."""
    options = [
        f"--port={running.port}",
        f"--connections={connections}",
        f"--seconds={seconds}",
        f"--core={LOAD_CORE}",
    ]
    loader = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.load", *options, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    answer, _ = await loader.communicate(request)
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


class Connection:
    """A kept-alive connection to one process; use as an async context manager."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer."""
        self._writer.write(request)
        head = await self._reader.readuntil(HEAD_END)
        body = await self._reader.readexactly(answer_size(head) - len(head))
        return int(head[9:12]), body

    async def ask_for(self, request: bytes) -> Any:
        """The answer's document, which must not be a refusal."""
        status, body = await self.ask(request)
        assert status in {200, 201, 202}, body
        return json.loads(body)
