"""Being told at once: Postgres LISTEN/NOTIFY on a connection of its own, made again when it breaks.

A notification is a hint, never the truth: after every (re)connection each listener is called with an
empty payload, so that it reads what it may have missed.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import asyncpg
from sqlalchemy import ARRAY, Text, bindparam, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.background import Background
from app.core.database import before_commit
from app.core.outage import Outage
from app.core.prepared import PreparedRead

Listener = Callable[[str], None]
RECONNECT_SECONDS = 0.5


_MESSAGES = "messages"
_texts = ARRAY(Text)
_told = (
    func.unnest(bindparam("channels", type_=_texts), bindparam("payloads", type_=_texts))
    .table_valued("channel", "payload")
    .render_derived()
)
_SEND = PreparedRead(select(func.pg_notify(_told.c.channel, _told.c.payload)))


def notify(session: AsyncSession, channel: str, payload: str = "") -> None:
    """Tell every listener of a channel, when and if this transaction commits."""
    session.info.setdefault(_MESSAGES, {})[channel, payload] = None
    before_commit(session, _send)


async def _send(session: AsyncSession) -> None:
    channels, payloads = zip(*session.info.pop(_MESSAGES), strict=True)
    await _SEND.rows(session, channels=channels, payloads=payloads)


async def wait_until_told(told: asyncio.Event, seconds: float) -> None:
    """Return when an event is set, which it is not afterwards, or after a while.

    `asyncio.wait_for` won't do: in Python 3.11 it loses a cancellation that comes together with the event.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await told.wait()
    told.clear()


class Notifications:
    """What Postgres tells this process. Use as an async context manager."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url).set(drivername="postgresql")
        self._dsn = parsed.render_as_string(hide_password=False)
        self._listeners: dict[str, list[Listener]] = {}
        self._upkeep = Background("notifications", self._stay_connected)
        self._outage = Outage("notifications")
        self.connected = asyncio.Event()

    def on(self, channel: str, listener: Listener) -> None:
        """Call `listener` with each payload on a channel; register before entering the context."""
        self._listeners.setdefault(channel, []).append(listener)

    async def __aenter__(self) -> Self:
        self._upkeep.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._upkeep.stop()

    async def _stay_connected(self) -> None:
        while True:
            try:
                await self._listen_until_broken()
            except (
                OSError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,
            ) as error:
                self._outage.goes_on(error)
            self.connected.clear()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen_until_broken(self) -> None:
        broken = asyncio.Event()
        connection = await asyncpg.connect(self._dsn, timeout=5)
        try:
            connection.add_termination_listener(lambda *_: broken.set())
            for channel in self._listeners:
                await connection.add_listener(channel, self._hear)
            self.connected.set()
            self._outage.is_over()
            self._call_everyone()
            await broken.wait()
        finally:
            connection.terminate()

    def _hear(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        for listener in self._listeners[channel]:
            listener(str(payload))

    def _call_everyone(self) -> None:
        for listeners in self._listeners.values():
            for listener in listeners:
                listener("")
