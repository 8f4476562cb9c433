"""A process that answers HTTP: uvicorn on a listening socket that its supervisor opened and shares out.

What uvicorn lacks is added here. Every connection has deadlines, so that a client that sends slowly or stops
half-way holds nothing for long. And stopping fails no request: the process stops accepting, lets each
connection have one more answer that says `Connection: close`, and ends when they are gone.

    python -m app.server --fd 3
"""

import argparse
import asyncio
import json
import os
import re
import socket
import time
from collections.abc import Iterable
from enum import Enum, auto
from functools import partial
from importlib import import_module
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.core.config import Settings
from app.core.errors import Refusal
from app.core.limits import HeadersTooLarge, NotHttp, RequestTooSlow
from app.core.problems import problem_of
from app.core.wire import WHOLE_ANSWER

APPLICATION = "app.main:create_app"

_SILENCE_SECONDS = 10.0  # how long a client may take for its headers, or for the next piece of a body
_DRAIN_SILENCE_SECONDS = 2.0  # the same while the process stops, for idle connections too
_KEEP_ALIVE_SECONDS = 75  # longer than load balancers keep theirs (60 s), so that they close first
_PROGRESS_BYTES = 1024  # a body that brings less than this in its silence is not moving
_HEADER_BYTES = 64 * 1024
_OK = STATUS_LINE[200]
_TICKS_PER_SWEEP = 5  # uvicorn ticks ten times a second
_UPGRADE = re.compile(rb"(?i)(?<=\r\n)upgrade:[^\r\n]*\r\n")


class EdgeState(ServerState):
    """What all connections of the process share."""

    def __init__(self) -> None:
        super().__init__()
        self.draining = asyncio.Event()
        self.now = time.monotonic()  # as of the last sweep: exact enough for deadlines, and free


class Phase(Enum):
    """What the client is sending."""

    NOTHING = auto()
    HEADERS = auto()
    BODY = auto()
    LEFTOVERS = auto()  # of a request that was refused; nobody reads them


class EdgeProtocol(HttpToolsProtocol):
    """One connection, with deadlines for what the client sends and an orderly end."""

    server_state: EdgeState

    # The methods that run for every request call uvicorn's by name: `super()` costs three times as much.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock: a connection that never brings a request ends too."""
        super().connection_made(transport)
        self._phase = Phase.NOTHING
        self._header_bytes = 0
        self._mark()

    def data_received(self, data: bytes) -> None:
        """Parse; wind the clock up again for a body that moves, cut off headers that don't end."""
        if self._phase is Phase.NOTHING:
            data = _without_upgrade(data)
        elif self._phase is Phase.LEFTOVERS:
            return
        else:
            self._count(len(data))
        HttpToolsProtocol.data_received(self, data)
        if self._phase is Phase.HEADERS and self._header_bytes > _HEADER_BYTES:
            self._refuse(HeadersTooLarge(_HEADER_BYTES))

    def on_message_begin(self) -> None:
        """Start the clock of a request's headers; they get no more time for coming in many pieces."""
        HttpToolsProtocol.on_message_begin(self)
        self._phase = Phase.HEADERS
        self._header_bytes = 0
        self._mark()

    def on_headers_complete(self) -> None:
        """Hand the request over; while the process drains it is the connection's last."""
        if self.parser.should_upgrade():
            raise httptools.HttpParserError("no other protocol is spoken here, and its body would be lost")
        HttpToolsProtocol.on_headers_complete(self)
        self.scope["extensions"] = {WHOLE_ANSWER: partial(self._answer_whole, self.cycle)}  # type: ignore[dict-item]
        self._phase = Phase.BODY
        self._mark()
        if self.server_state.draining.is_set():
            self.cycle.keep_alive = False

    def _answer_whole(self, cycle: RequestResponseCycle, head: bytes, body: bytes) -> None:
        """Answer 200 in one write: headers that the application vouches for, and the body that they announce."""
        if cycle.disconnected:
            return
        own = b"".join([b"%b: %b\r\n" % header for header in cycle.default_headers])
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        cycle.transport.write(b"".join((_OK, own, head, end, body)))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()

    def on_message_complete(self) -> None:
        """Stop the clock: now the client waits for us."""
        self._phase = Phase.NOTHING
        HttpToolsProtocol.on_message_complete(self)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature
        """Refuse what is not HTTP; uvicorn calls this when the parser gives up."""
        self._refuse(NotHttp())

    def drain(self) -> None:
        """Make the request under way the connection's last one; an idle connection may still bring one."""
        self._mark()
        if self._is_answering and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def close_if_overdue(self) -> None:
        """End the connection when its client has let us wait for too long."""
        if self.flow.read_paused or (self._phase is Phase.NOTHING and self._is_answering):
            self._mark()  # it is us who let the client wait
        elif self.server_state.now - self._marked_at <= self._patience_seconds:
            return
        elif self._phase in {Phase.NOTHING, Phase.LEFTOVERS}:
            self.transport.close()
        else:
            self._refuse(RequestTooSlow(self._patience_seconds))

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _patience_seconds(self) -> float:
        if self.server_state.draining.is_set() or self._phase is Phase.LEFTOVERS:
            return _DRAIN_SILENCE_SECONDS
        is_idle = self._phase is Phase.NOTHING and self.cycle is not None
        return _KEEP_ALIVE_SECONDS if is_idle else _SILENCE_SECONDS

    def _mark(self) -> None:
        self._fresh_bytes = 0
        self._marked_at = self.server_state.now

    def _count(self, size: int) -> None:
        if self._phase is Phase.HEADERS:
            self._header_bytes += size
            return
        self._fresh_bytes += size
        if self._fresh_bytes >= _PROGRESS_BYTES:
            self._mark()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer in the application's stead and hang up, reading on for a moment.

        Closing with unread bytes resets the connection, and the reset can overtake the answer (RFC 9112, 9.6).
        """
        if self.pipeline:  # answers are owed to earlier requests: this one would be taken for theirs
            self.transport.close()
        elif self._is_answering and self._phase is not Phase.BODY:  # one is owed: it goes out first
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        else:
            self._answer_and_hang_up(refusal)

    def _answer_and_hang_up(self, refusal: Refusal) -> None:
        if self._phase is not Phase.BODY or not self.cycle.response_started:
            self.transport.write(_answer_of(refusal, self.server_state.default_headers))
        if self._is_answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._phase = Phase.LEFTOVERS
        self._mark()
        self.transport.write_eof()


def _without_upgrade(data: bytes) -> bytes:
    """The beginning of a request without its offer to speak another protocol, which a server may ignore.

    The parser would skip the request's body; the Java HTTP client offers h2c on every first request.
    """
    if b"pgrade" not in data:
        return data
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"", head + end) + rest


def _answer_of(refusal: Refusal, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A whole HTTP answer that carries problem details (RFC 9457)."""
    body = json.dumps(problem_of(refusal)).encode()
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    ours = b"content-type: application/problem+json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    return STATUS_LINE[refusal.status] + lines + ours % len(body) + body


class EdgeServer(uvicorn.Server):
    """A uvicorn that sweeps overdue connections and stops without failing a request.

    Applications find the event `draining` in their lifespan state, which is `request.state` too.
    """

    server_state: EdgeState

    def __init__(self, config: uvicorn.Config, *, drain_seconds: float, ready_fd: int | None = None) -> None:
        super().__init__(config)
        self.server_state = EdgeState()
        self._drain_seconds = drain_seconds
        self._ready_fd = ready_fd

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, accept connections, and only then report readiness."""
        self.lifespan.state["draining"] = self.server_state.draining
        await super().startup(sockets)
        if self._ready_fd is not None:
            os.write(self._ready_fd, b"ready")
            os.close(self._ready_fd)

    async def on_tick(self, counter: int) -> bool:
        """Uvicorn's housekeeping, and ours."""
        if counter % _TICKS_PER_SWEEP == 0:
            self._sweep()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, answer what was accepted, and end within the drain's seconds."""
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        self.server_state.draining.set()
        for connection in self._connections():
            connection.drain()
        deadline = asyncio.get_running_loop().time() + self._drain_seconds
        await self._wait_for_connections(deadline)
        await self._end_tasks(deadline)
        await self.lifespan.shutdown()
        self._captured_signals.clear()  # uvicorn would raise them again: a drained process has ended well

    def _connections(self) -> list[EdgeProtocol]:
        return [each for each in self.server_state.connections if isinstance(each, EdgeProtocol)]

    def _sweep(self) -> None:
        self.server_state.now = time.monotonic()
        for connection in self._connections():
            connection.close_if_overdue()

    async def _wait_for_connections(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.1)  # what was accepted just now reaches its protocol in the loop's next turns
        while self.server_state.connections and loop.time() < deadline and not self.force_exit:
            self._sweep()
            await asyncio.sleep(0.05)
        for connection in self._connections():
            connection.transport.abort()

    async def _end_tasks(self, deadline: float) -> None:
        tasks = set(self.server_state.tasks)
        if not tasks:
            return
        remaining = max(deadline - asyncio.get_running_loop().time(), 0.1)
        _, unfinished = await asyncio.wait(tasks, timeout=0.1 if self.force_exit else remaining)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)


def edge_server(application: Any, settings: Settings, *, ready_fd: int | None = None) -> EdgeServer:
    """The server of an ASGI application."""
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http=EdgeProtocol,
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,  # the application logs its own requests, in its own format
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    return EdgeServer(config, drain_seconds=settings.drain_seconds, ready_fd=ready_fd)


def main() -> None:
    """Read the command line and the environment, build the application, serve it."""
    parser = argparse.ArgumentParser(prog="python -m app.server", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="the listening socket")
    parser.add_argument("--ready-fd", type=int, help="a pipe that gets a word once requests are answered")
    parser.add_argument("--gate-fd", type=int, help="a pipe; nothing starts before its other end closes")
    parser.add_argument("--app", default=APPLICATION, help="module:function that makes it of Settings")
    options = parser.parse_args()
    module, _, name = options.app.partition(":")
    make_application = getattr(import_module(module), name)
    if options.gate_fd is not None:
        os.read(options.gate_fd, 1)
    server = edge_server(make_application(settings := Settings()), settings, ready_fd=options.ready_fd)
    server.run(sockets=[socket.socket(fileno=options.fd)])


if __name__ == "__main__":
    main()
