"""One connection of a process that answers HTTP: what uvicorn's protocol lacks is added here.

Every connection has deadlines, so that a client that sends slowly or stops half-way holds nothing for long, and an
orderly end. And a request that the application can answer from memory goes the express way: it is handed over when
it has arrived whole, and answered in one write, without the scope, the task and the messages that ASGI wants for it.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Coroutine, Iterable
from enum import Enum, auto
from typing import Any, Protocol

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.core.errors import Refusal
from app.core.limits import HeadersTooLarge, NotHttp, RequestTooSlow
from app.core.problems import problem_of

SILENCE_SECONDS = 10.0  # how long a client may take for its headers, or for the next piece of a body
DRAIN_SILENCE_SECONDS = 2.0  # the same while the process stops, for idle connections too
KEEP_ALIVE_SECONDS = 75  # longer than load balancers keep theirs (60 s), so that they close first
EXPRESS_BYTES = 1024 * 1024
_PROGRESS_BYTES = 1024  # a body that brings less than this in its silence is not moving
_HEADER_BYTES = 64 * 1024
_UPGRADE = re.compile(rb"(?i)(?<=\r\n)upgrade:[^\r\n]*\r\n")
_NOBODY_WAITS = asyncio.Event()


class Express(Protocol):
    """What an application leaves in its lifespan state as `express`."""

    def take(self, exchange: "Exchange") -> bool:
        """Whether it answers this exchange, now or soon; if not, nothing has happened."""


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
    cycle: "RequestResponseCycle | Exchange"  # type: ignore[assignment]

    # The methods that run for every request call uvicorn's by name: `super()` costs three times as much.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock: a connection that never brings a request ends too."""
        super().connection_made(transport)
        self._express: Express | None = self.app_state.get("express")
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
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._phase = Phase.HEADERS
        self._header_bytes = 0
        self._mark()

    def on_headers_complete(self) -> None:
        """Hand the request over; while the process drains it is the connection's last."""
        if self.parser.should_upgrade():
            raise httptools.HttpParserError("no other protocol is spoken here, and its body would be lost")
        if self._express is not None and self._may_go_express():
            self.cycle = Exchange(self)
        else:
            self._begin_cycle()
        self._phase = Phase.BODY
        self._mark()
        if self.server_state.draining.is_set():
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        if type(self.cycle) is Exchange:
            self.cycle.body += body
        else:
            HttpToolsProtocol.on_body(self, body)

    def on_message_complete(self) -> None:
        """Stop the clock: now the client waits for us."""
        self._phase = Phase.NOTHING
        exchange = self.cycle
        if type(exchange) is not Exchange:
            HttpToolsProtocol.on_message_complete(self)
        elif self._express is None or not self._express.take(exchange):
            self._hand_to_application(exchange)

    def _may_go_express(self) -> bool:
        """Whether this is a request that the express way might answer, with nobody before it on this connection."""
        return (
            self.url.endswith(b"/predict")
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.expect_100_continue
            and not self._is_answering
            and _declared_bytes(self.headers) <= EXPRESS_BYTES
        )

    def _hand_to_application(self, exchange: "Exchange") -> None:
        """Start the application on a request that has arrived whole."""
        self.cycle = None  # type: ignore[assignment]
        self._begin_cycle()
        self.cycle.keep_alive = exchange.keep_alive
        self.cycle.body = exchange.body
        HttpToolsProtocol.on_message_complete(self)

    def _begin_cycle(self) -> None:
        """Let uvicorn make its scope, which it does when a message begins, and start the application."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        HttpToolsProtocol.on_message_begin(self)
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        HttpToolsProtocol.on_headers_complete(self)

    def on_exchange_complete(self) -> None:
        """Go on with what was pipelined meanwhile; the sweep ends idle connections, so that no timer is needed."""
        self.server_state.total_requests += 1
        if self.pipeline:
            self.on_response_complete()

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
            return DRAIN_SILENCE_SECONDS
        is_idle = self._phase is Phase.NOTHING and self.cycle is not None
        return KEEP_ALIVE_SECONDS if is_idle else SILENCE_SECONDS

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


class Exchange:
    """One request on the express way and its answer: it has no scope, no task and no messages.

    In the protocol it stands where uvicorn has its cycle, with those attributes that the protocol looks at.
    """

    __slots__ = (
        "_protocol", "body", "disconnected", "headers", "keep_alive", "message_event",
        "response_complete", "response_started", "url",
    )  # fmt: skip

    def __init__(self, protocol: EdgeProtocol) -> None:
        self._protocol = protocol
        self.url = protocol.url
        self.headers = protocol.headers
        self.body = bytearray()
        self.keep_alive = protocol.parser.should_keep_alive()
        self.disconnected = self.response_started = self.response_complete = False
        self.message_event = _NOBODY_WAITS

    def answer(self, status: int, head: bytes, body: bytes) -> None:
        """Answer in one write: header lines that the application vouches for, and the body that they announce."""
        self.response_started = self.response_complete = True
        protocol = self._protocol
        if self.disconnected or protocol.transport.is_closing():
            return
        own = b"".join([b"%b: %b\r\n" % header for header in protocol.server_state.default_headers])
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        protocol.transport.write(b"".join((STATUS_LINE[status], own, head, end, body)))
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_exchange_complete()

    def follow(self, work: Coroutine[Any, Any, None]) -> None:
        """Let the server wait for work that will answer this exchange later."""
        tasks = self._protocol.server_state.tasks
        task = self._protocol.loop.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def _declared_bytes(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """The length that a request announces; more than anybody takes where it announces none that can be read."""
    for name, value in headers:
        if name == b"content-length":
            return int(value) if value.isdigit() else sys.maxsize
    return sys.maxsize


def _without_upgrade(data: bytes) -> bytes:
    """The beginning of a request without its offer to speak another protocol, which a server may ignore.

    The parser would skip the request's body; the Java HTTP client offers h2c on every first request.
    """
    end = data.find(b"\r\n\r\n") + 4
    head = data if end < 4 else data[:end]
    return data if b"pgrade" not in head else _UPGRADE.sub(b"", head) + data[len(head) :]


def _answer_of(refusal: Refusal, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A whole HTTP answer that carries problem details (RFC 9457)."""
    body = json.dumps(problem_of(refusal)).encode()
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    ours = b"content-type: application/problem+json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    return STATUS_LINE[refusal.status] + lines + ours % len(body) + body
