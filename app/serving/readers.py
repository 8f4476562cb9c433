"""The few child processes that read large bodies, lent to one request at a time."""

import asyncio
import pickle
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from app.runtimes.errors import DeadlinePassed
from app.runtimes.rows import Rows
from app.runtimes.schema import Signature
from app.serving.dialects import Dialect, Envelope
from app.serving.errors import ReaderLost
from app.serving.reading import LENGTH, pack

READERS = 2
SMALL_BYTES = 1024 * 1024
SMALL_ROWS = 4000
_ALWAYS_SMALL_BYTES = 64 * 1024
_COMMAND = (sys.executable, "-m", "app.serving.reading")
_PIPE_BYTES = 4 * 1024 * 1024  # how much of an answer is buffered before the child has to wait


def is_small(body: bytes) -> bool:
    """Whether a body may be read on the event loop: 20 ms at most, and 100 ms when every single row of it is bad."""
    if len(body) <= _ALWAYS_SMALL_BYTES:
        return True
    return len(body) <= SMALL_BYTES and body.count(b"[") + body.count(b"{") <= SMALL_ROWS


class LargeBody:
    """A body that a child process reads; its methods are called in this order."""

    def __init__(self, child: Process, body: bytes, dialect: Dialect) -> None:
        self._child = child
        self._body = body
        self._dialect = dialect
        self.is_waiting = False

    async def open(self) -> Envelope:
        """The request's options: they decide which version, and so which signature, the rows are for."""
        envelope: Envelope = await self._call("open", self._body, self._dialect)
        return envelope

    async def read(self, signature: Signature, *, max_rows: int) -> Rows:
        """How many rows there are and what to warn of; the rows themselves come window by window."""
        rows: Rows = await self._call("read", signature, max_rows)
        return rows

    async def window(self, start: int, stop: int) -> Rows:
        """The rows at these positions of the request, good and bad, as a batch of their own."""
        rows: Rows = await self._call("window", start, stop)
        return rows

    async def _call(self, method: str, *arguments: Any) -> Any:
        self.is_waiting = True
        try:
            kind, value = await self._exchange(pack((method, arguments)))
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ReaderLost from None
        self.is_waiting = False
        if kind == "refusal":
            refusal, members = value
            raise refusal(**members)
        return value

    async def _exchange(self, call: bytes) -> tuple[str, Any]:
        requests, answers = self._child.stdin, self._child.stdout
        assert requests
        assert answers
        requests.write(call)
        await requests.drain()
        (size,) = LENGTH.unpack(await answers.readexactly(LENGTH.size))
        outcome: tuple[str, Any] = pickle.loads(await answers.readexactly(size))  # noqa: S301 - from our own child
        return outcome


class Readers:
    """Children that are started when the first large bodies come, and ended when they are left in mid-call."""

    def __init__(self) -> None:
        self._idle: list[Process] = []
        self._turn = asyncio.Semaphore(READERS)

    @asynccontextmanager
    async def lend(self, body: bytes, dialect: Dialect, *, deadline: float) -> AsyncIterator[LargeBody]:
        """A child's attention for one body, for as long as the block lasts.

        Raises:
            DeadlinePassed: none was free, or the block was not done, by `deadline` (clock of `time.monotonic`).
        """
        try:
            async with asyncio.timeout(deadline - time.monotonic()), self._turn:
                child = self._idle.pop() if self._idle else await _start()
                source = LargeBody(child, body, dialect)
                try:
                    yield source
                finally:
                    self._take_back(child, source)
        except TimeoutError:
            raise DeadlinePassed from None

    def _take_back(self, child: Process, source: LargeBody) -> None:
        if source.is_waiting:
            _end(child)
        else:
            self._idle.append(child)

    async def close(self) -> None:
        """End the children that wait for work."""
        for child in self._idle:
            _end(child)
            await child.wait()
        self._idle.clear()


async def _start() -> Process:
    return await asyncio.create_subprocess_exec(*_COMMAND, stdin=PIPE, stdout=PIPE, limit=_PIPE_BYTES)


def _end(child: Process) -> None:
    with suppress(ProcessLookupError):
        child.kill()
