"""The live API keys in memory, so that knowing a caller costs no query and outlives the database's absence.

The ring is read whole: at the start, when Postgres tells that a key was made or revoked, when somebody shows
a key that it lacks, and every few seconds in case a notification was lost. While the database is away it
stays as it is; times of expiry go on counting.
"""

import asyncio
import hmac
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

from app.core import clock
from app.core.access import Caller
from app.core.background import Background
from app.core.database import Database
from app.core.jobs import WORKER
from app.core.keys import (
    CHANNEL,
    PREFIX_LENGTH,
    USE_RESOLUTION,
    ApiKey,
    digest_of,
    list_unrevoked_keys,
    note_uses,
)
from app.core.notify import Notifications
from app.core.outage import Outage
from app.core.problems import DatabaseAway

REFRESH_SECONDS = 15.0  # the longest that a revoked key works when the notification of it is lost
SPACING_SECONDS = 0.1  # between two reads, so that a flood of wrong keys costs ten small queries a second
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Entry:
    id: UUID
    caller: Caller
    digest: bytes
    expires_at: datetime | None
    use_noted_at: datetime


def _entry(row: ApiKey) -> _Entry:
    caller = Caller(row.name, row.role, tuple(row.models))
    return _Entry(row.id, caller, row.digest, row.expires_at, row.last_used_at or _LONG_AGO)


class Keyring:
    """Every key that was not revoked. Use as an async context manager; enter it before its notifications."""

    def __init__(self, database: Database, notifications: Notifications) -> None:
        self._database = database
        self._entries: dict[bytes, _Entry] = {}
        self._used: set[bytes] = set()
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._upkeep = Background("keys", self._stay_current)
        self._outage = Outage("keys")
        notifications.on(CHANNEL, lambda _payload: self._wanted.set())

    async def __aenter__(self) -> Self:
        await self._read()
        self._upkeep.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._upkeep.stop()

    @property
    def is_empty(self) -> bool:
        """Whether no key exists; one that merely ran out still counts, so that time alone opens no door."""
        return not self._entries

    def find_caller(self, key: bytes) -> Caller | None:
        """Whose key this is, if it is a live one."""
        prefix = key[:PREFIX_LENGTH]
        entry = self._entries.get(prefix)
        if entry is None or not hmac.compare_digest(entry.digest, digest_of(key)):
            return None
        if entry.expires_at is not None and entry.expires_at <= clock.now():
            return None
        self._used.add(prefix)
        return entry.caller

    async def refresh(self) -> None:
        """Wait for a reading of the keys that begins from now on.

        Raises:
            DatabaseAway: it failed.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._wanted.set()
        await done

    async def _stay_current(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_SECONDS):
                    await self._wanted.wait()
            self._wanted.clear()
            waiting, self._waiting = self._waiting, []
            await self._catch_up(waiting)
            await asyncio.sleep(SPACING_SECONDS)

    async def _catch_up(self, waiting: list[asyncio.Future[None]]) -> None:
        try:
            await self._read()
            _settle(waiting, None)
            await self._note_uses()
            self._outage.is_over()
        except Exception as error:  # noqa: BLE001 - this task has to outlive whatever the database does
            self._outage.goes_on(error)
            _settle(waiting, DatabaseAway())

    async def _read(self) -> None:
        async with self._database.reads() as session:
            rows = await list_unrevoked_keys(session)
        self._entries = {row.prefix.encode(): _entry(row) for row in rows}

    async def _note_uses(self) -> None:
        due = clock.now() - USE_RESOLUTION
        seen, self._used = self._used & self._entries.keys(), set()
        used = [self._entries[prefix].id for prefix in seen if self._entries[prefix].use_noted_at < due]
        if used:
            async with self._database.writes(WORKER) as session:
                await note_uses(session, used)


def _settle(waiting: list[asyncio.Future[None]], problem: Exception | None) -> None:
    for done in waiting:
        if done.done():
            continue
        if problem:
            done.set_exception(problem)
        else:
            done.set_result(None)
