"""The process that `switchyard serve` is: it opens the door, starts everything behind it, and restarts what dies.

    supervisor ── postgres          unless an address of one is configured
               ├─ http 1 … http N   share the listening socket
               └─ worker            reactions, jobs, and the clock when it leads

SIGTERM or SIGINT stops it: the HTTP processes drain first, then the worker ends, then Postgres. SIGHUP
replaces the HTTP processes one by one, and no request fails. When the supervisor itself is killed, the
kernel tells its children to end.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from itertools import count

import structlog

from app.core.config import Settings
from app.core.embedded import embedded_postgres
from app.core.processes import StartFailed, claimed, leash, listening, refuse_new_connections, tell
from app.core.telemetry import shared_metrics

log = structlog.get_logger()

_READY_SECONDS = 120.0
_KILL_SECONDS = 10.0  # a child has this long beyond what it was promised
_STABLE_SECONDS = 10.0  # a child that lived this long did not die at once
_FIRST_DELAY_SECONDS, _LAST_DELAY_SECONDS = 0.1, 30.0
_SETTLE_SECONDS = 0.1  # HTTP processes accept within it what the kernel has queued
_WORKER_SECONDS = 20.0
_STOP_ORDERS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Commands:
    """The programs that the supervisor runs; `app.server` says what the HTTP one is told."""

    http: Sequence[str] = (sys.executable, "-m", "app.server")
    worker: Sequence[str] = (sys.executable, "-m", "app.worker")
    prepare: Sequence[str] = (sys.executable, "-m", "app.cli", "prepare")


async def supervise(settings: Settings, commands: Commands | None = None) -> None:
    """Run the service until SIGTERM or SIGINT.

    Raises:
        StartFailed: the message says what is in the way.
    """
    service = asyncio.ensure_future(_run(settings, commands or Commands()))
    loop = asyncio.get_running_loop()

    def stop() -> None:
        service.cancel()
        for order in _STOP_ORDERS:  # a second one ends us at once, and the kernel tells our children
            loop.remove_signal_handler(order)

    for order in _STOP_ORDERS:
        loop.add_signal_handler(order, stop)
    with suppress(asyncio.CancelledError):
        await service


async def _run(settings: Settings, commands: Commands) -> None:
    with claimed(settings.base_path), listening(settings.host, settings.port) as listener:
        supervisor = _Supervisor(settings, commands, listener)
        if settings.sqlalchemy_url:
            await supervisor.run(settings.sqlalchemy_url)
            return
        async with embedded_postgres(settings.base_path) as postgres:
            keeper = asyncio.create_task(_keep("postgres", postgres.wait, postgres.start))
            try:
                await supervisor.run(postgres.url)
            finally:
                keeper.cancel()


class _Child:
    """A running program that ends with the supervisor."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process

    @property
    def has_ended(self) -> bool:
        return self.process.returncode is not None

    async def stop(self, patience: float) -> None:
        """Ask it to end, and kill it when it has not after `patience` seconds."""
        tell(self.process, signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), patience)
        except TimeoutError:
            log.warning("process_killed", process=self.name, waited_seconds=patience)
            tell(self.process, signal.SIGKILL)
            await self.process.wait()


async def _spawn(name: str, command: Sequence[str], env: dict[str, str], fds: Sequence[int] = ()) -> _Child:
    process = await asyncio.create_subprocess_exec(
        *command, env=env, pass_fds=fds, stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl+C in a terminal is for the supervisor alone
        preexec_fn=leash(signal.SIGTERM),
    )  # fmt: skip
    log.info("process_started", process=name, pid=process.pid)
    return _Child(name, process)


@contextmanager
def _pipe() -> Iterator[tuple[FileIO, FileIO]]:
    reader, writer = os.pipe()
    with FileIO(reader, "rb") as readable, FileIO(writer, "wb") as writable:
        yield readable, writable


async def _has_word(pipe: FileIO) -> bool:
    """Whether a pipe brings anything before its other end closes."""
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pipe, readable.set)
    try:
        await asyncio.wait_for(readable.wait(), _READY_SECONDS)
        return bool(pipe.read(16))
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pipe)


class _Slot:
    """The place of one process: whoever fills it may die or be replaced, the place is filled again."""

    def __init__(self, child: _Child, start: Callable[[], Awaitable[_Child]]) -> None:
        self._child = child
        self._start = start
        self._changing = asyncio.Lock()

    async def wait(self) -> int:
        """The exit status of the process that leaves the place empty."""
        while True:
            child = self._child
            status = await child.process.wait()
            async with self._changing:
                if self._child is child:
                    return status

    async def fill(self) -> None:
        """Start the program again if nobody did meanwhile."""
        async with self._changing:
            if self._child.has_ended:
                self._child = await self._start()

    async def stop(self, patience: float) -> None:
        """Empty the place."""
        await self._child.stop(patience)

    async def replace(self, patience: float) -> None:
        """Start a successor and, once it is ready, stop its predecessor."""
        async with self._changing:
            successor = await self._start()
            predecessor, self._child = self._child, successor
            await predecessor.stop(patience)


async def _keep(
    name: str, wait: Callable[[], Awaitable[int]], restart: Callable[[], Awaitable[None]]
) -> None:
    """Restart what dies: at once when it had been stable, else more and more patiently."""
    delay = _FIRST_DELAY_SECONDS
    while True:
        began = time.monotonic()
        status = await wait()
        is_stable = time.monotonic() - began > _STABLE_SECONDS
        delay = _FIRST_DELAY_SECONDS if is_stable else min(2 * delay, _LAST_DELAY_SECONDS)
        log.warning("process_died", process=name, status=status, restart_in_seconds=delay)
        await asyncio.sleep(delay)
        try:
            await restart()
        except (StartFailed, OSError) as error:
            log.error("process_does_not_start", process=name, reason=str(error))  # noqa: TRY400 - no traceback


class _Supervisor:
    """One service: its socket, its processes, and what they are told."""

    def __init__(self, settings: Settings, commands: Commands, listener: socket.socket) -> None:
        self._commands = commands
        self._listener = listener
        self._workers = settings.workers
        self._drain_seconds = settings.drain_seconds + _KILL_SECONDS
        self._env = _environment(settings, port=listener.getsockname()[1])
        self._http: dict[int, _Child] = {}
        self._worker: _Slot | None = None
        self._numbering = asyncio.Lock()
        self._reload = asyncio.Event()

    async def run(self, database_url: str) -> None:
        """Prepare the database, start everything, announce the address, and keep it going until cancelled."""
        self._env["ML_DATABASE_URL"] = database_url
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload.set)
        try:
            slots = [_Slot(child, self._start_http) for child in await self._prepare_and_start_http()]
            self._worker = _Slot(await self._start_worker(), self._start_worker)
            async with asyncio.TaskGroup() as keepers:
                keepers.create_task(_keep("worker", self._worker.wait, self._worker.fill))
                for slot in slots:
                    keepers.create_task(_keep("http", slot.wait, slot.fill))
                keepers.create_task(self._reload_when_told(slots))
                _announce(self._listener)
        finally:
            await self._stop()

    async def _prepare_and_start_http(self) -> list[_Child]:
        """HTTP processes that answer; they import their program while the database is prepared."""
        with _pipe() as (gate, opener):
            starting = asyncio.gather(*(self._start_http(gate) for _ in range(self._workers)))
            try:
                await self._prepare()
                opener.write(b"." * self._workers)
                return await starting
            finally:
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)

    async def _prepare(self) -> None:
        child = await _spawn("prepare", self._commands.prepare, self._env)
        if await child.process.wait() != 0:
            raise StartFailed("the database can't be used like this; the line above says why")

    async def _start_worker(self) -> _Child:
        return await _spawn("worker", self._commands.worker, self._env)

    async def _start_http(self, gate: FileIO | None = None) -> _Child:
        with _pipe() as (readiness, announcer):
            child = await self._spawn_http(announcer, gate)
            announcer.close()
            if await _has_word(readiness):
                return child
        await child.stop(_KILL_SECONDS)
        raise StartFailed(f"{child.name} did not become ready; the lines above say why")

    async def _spawn_http(self, announcer: FileIO, gate: FileIO | None) -> _Child:
        """An HTTP process with the lowest free number: it and the one it may replace never share a spool."""
        told: dict[str, socket.socket | FileIO] = {"--fd": self._listener, "--ready-fd": announcer}
        told |= {"--gate-fd": gate} if gate else {}
        fds = {option: file.fileno() for option, file in told.items()}
        command = [*self._commands.http, *(f"{option}={fd}" for option, fd in fds.items())]
        async with self._numbering:
            number = next(n for n in count(1) if n not in self._http or self._http[n].has_ended)
            env = self._env | {"SWITCHYARD_PROCESS": str(number)}
            child = self._http[number] = await _spawn(f"http {number}", command, env, tuple(fds.values()))
        return child

    async def _reload_when_told(self, slots: Sequence[_Slot]) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            await self._replace_all(slots)

    async def _replace_all(self, slots: Sequence[_Slot]) -> None:
        try:
            for slot in slots:
                await slot.replace(self._drain_seconds)
        except (StartFailed, OSError) as error:
            log.error("reload_stopped", reason=str(error))  # noqa: TRY400 - no traceback
        else:
            log.info("reload_finished", processes=len(slots))

    async def _stop(self) -> None:
        refuse_new_connections(self._listener)
        await asyncio.sleep(_SETTLE_SECONDS)
        self._listener.close()
        await asyncio.gather(*(child.stop(self._drain_seconds) for child in self._http.values()))
        if self._worker:
            await self._worker.stop(_WORKER_SECONDS)


def _environment(settings: Settings, *, port: int) -> dict[str, str]:
    """What children must know, and what they share."""
    told = {
        "MLOPS_BASE_PATH": str(settings.base_path),
        "SWITCHYARD_HOST": settings.host,
        "SWITCHYARD_PORT": str(port),
        "SWITCHYARD_WORKERS": str(settings.workers),
    }
    return {"OMP_NUM_THREADS": "1"} | dict(os.environ) | told | shared_metrics(settings.base_path)


def _announce(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    print(f"Switchyard answers at http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)  # noqa: T201 - for people
