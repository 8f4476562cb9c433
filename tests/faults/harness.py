"""A whole service with a small application in it, and clients that notice every request that fails."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import psutil

from app.core.config import Settings
from app.server import edge_server
from app.supervisor import Commands, supervise

ROOT = Path(__file__).parents[2]
_THINK_SECONDS = 0.05  # leaves the processes that start meanwhile some of the machine
NO_DATABASE = "postgresql://nobody@nowhere/none"
SMALL = (sys.executable, "-c", "from tests.faults.harness import main; main()")
WHOLE = (sys.executable, "-m", "app.cli", "serve")


async def read_body(receive):
    """The size of a request's body."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    return size


async def ask_database(settings):
    """Whether the database answers."""
    try:
        connection = await asyncpg.connect(settings.sqlalchemy_url.replace("+asyncpg", ""), timeout=2)
    except (OSError, asyncpg.PostgresError):
        return "away"
    try:
        return await connection.fetchval("select 'here'")
    finally:
        await connection.close()


async def answer(settings, scope, receive):
    """What the application says about a request, and about the process that answers it."""
    if scope["path"] == "/readyz":
        return {"draining": scope["state"]["draining"].is_set()}
    if scope["path"] == "/database":
        return {"database": await ask_database(settings)}
    await asyncio.sleep({"/slow": 0.5, "/endless": 3600}.get(scope["path"], 0))
    return {
        "pid": os.getpid(),
        "number": os.environ.get("SWITCHYARD_PROCESS"),
        "size": await read_body(receive),
    }


def create_app(settings):
    """A small ASGI application, which does not start while a file `broken` lies in the base path."""
    if (settings.base_path / "broken").exists():
        raise RuntimeError("broken")

    async def lifespan(receive, send):
        for stage in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{stage}.complete"})

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        body = json.dumps(await answer(settings, scope, receive)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def main():
    """Supervise the application above, with a worker that sleeps and nothing to prepare."""
    python = sys.executable
    commands = Commands(
        http=(python, "-m", "app.server", "--app", "tests.faults.harness:create_app"),
        worker=(python, "-c", "import time; time.sleep(3600)"),
        prepare=(python, "-c", ""),
    )
    asyncio.run(supervise(Settings(), commands))


@dataclass
class Service:
    """A supervisor under test."""

    process: subprocess.Popen
    port: int
    output: Path

    def log(self):
        """What it has written so far."""
        return self.output.read_text()

    def children(self, part):
        """The processes of this service whose command line has `part` in it."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if part in " ".join(child.cmdline()):
                    found.append(child)
        return found

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, timeout=20):
        self.signal(signal.SIGTERM)
        return self.process.wait(timeout)


@contextmanager
def service(base_path, *, command=SMALL, workers=1, database=NO_DATABASE, drain_seconds=8, port=0):
    """A running service; nothing of it is left when the block ends."""
    settings = {
        "MLOPS_BASE_PATH": str(base_path),
        "ML_DATABASE_URL": database or "",
        "SWITCHYARD_PORT": str(port),
        "SWITCHYARD_WORKERS": str(workers),
        "SWITCHYARD_DRAIN_SECONDS": str(drain_seconds),
        "SWITCHYARD_PROMOTE_PATIENCE_SECONDS": "60",
    }
    log = base_path / f"log-{time.monotonic_ns()}"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stdout=output, stderr=output)
    family = []
    try:
        port = _port_from(process, log)
        family = psutil.Process(process.pid).children(recursive=True)
        yield Service(process, port, log)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        for member in [*family, process]:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()


def _port_from(process, log):
    while process.poll() is None:
        if address := re.search(r"answers at http://.*:(\d+)", log.read_text()):
            return int(address[1])
        time.sleep(0.02)
    raise AssertionError(log.read_text())


@dataclass
class Tally:
    """What became of a load's requests."""

    answered: int = 0
    failures: list = field(default_factory=list)
    refused: int = 0
    by_pid: Counter = field(default_factory=Counter)


class Client:
    """A caller with one kept-alive connection at a time, which it renews when it is told to."""

    def __init__(self, port):
        self.port = port
        self.reader = self.writer = None

    async def connect(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def close(self):
        if self.writer:
            self.writer.close()
            with suppress(OSError):
                await self.writer.wait_closed()
        self.reader = self.writer = None

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def request(self, path="/", body=b""):
        """One request over a connection that is open: status, headers, document."""
        if self.writer is None:
            await self.connect()
        method = "POST" if body else "GET"
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        answer = await self.read_answer()
        if answer[1].get("connection") == "close":
            await self.close()
        return answer

    async def send(self, data):
        """Raw bytes."""
        if self.writer is None:
            await self.connect()
        self.writer.write(data)
        await self.writer.drain()

    async def read_answer(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        document = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, json.loads(document)


async def _call_until(stop, client, tally, path, *, keep_alive):
    while not stop.is_set():
        try:
            if client.writer is None:
                await client.connect()
        except ConnectionRefusedError:
            tally.refused += 1
            return
        try:
            status, _, document = await client.request(path)
        except (OSError, asyncio.IncompleteReadError) as error:
            tally.failures.append(repr(error))
            await client.close()
            continue
        tally.answered += status == 200
        tally.by_pid[document.get("pid")] += 1
        if status != 200:
            tally.failures.append(document)
        if not keep_alive:
            await client.close()
        await asyncio.sleep(_THINK_SECONDS)
    await client.close()


@asynccontextmanager
async def load(port, *, clients=20, path="/", keep_alive=True):
    """Clients that call again and again while the block lasts."""
    stop, tally = asyncio.Event(), Tally()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(_call_until(stop, Client(port), tally, path, keep_alive=keep_alive))
        try:
            yield tally
        finally:
            stop.set()


@asynccontextmanager
async def served(application, settings):
    """A server of an application in this process, on a port of its own; `server.port` tells which."""
    server = edge_server(application, settings)
    listener = socket.create_server(("127.0.0.1", 0))
    server.port = listener.getsockname()[1]
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await eventually(lambda: server.started)
    yield server
    server.should_exit = True
    await serving


async def eventually(claim, *, within=5.0):
    """Wait until a claim holds; how many seconds that took."""
    began = time.monotonic()
    while True:
        outcome = claim()
        if asyncio.iscoroutine(outcome):
            outcome = await outcome
        if outcome:
            return time.monotonic() - began
        assert time.monotonic() - began < within, f"not within {within} seconds"
        await asyncio.sleep(0.05)


def is_refused(port):
    """Whether nothing listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
