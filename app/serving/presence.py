"""This process among the replicas: it says that it lives, holds ready what is wanted, and says what it holds."""

import asyncio
from contextlib import suppress
from typing import Self
from uuid import UUID

from sqlalchemy.exc import DBAPIError

from app.core import replicas
from app.core.background import Background
from app.core.database import Actor, Database
from app.core.errors import Refusal
from app.core.notify import Notifications, wait_until_told
from app.core.outage import Outage, is_connection_trouble
from app.runtimes.cache import ModelCache, Phase
from app.traffic.live import RouteTable

LEAVE_SECONDS = 2.0
READY = (True, "")


class Presence:
    """Use as an async context manager, entered before its notifications and after its routes."""

    def __init__(
        self,
        name: str,
        database: Database,
        notifications: Notifications,
        routes: RouteTable,
        cache: ModelCache,
    ) -> None:
        self._actor = Actor(name, "system")
        self._database = database
        self._routes = routes
        self._cache = cache
        self._id: UUID | None = None
        self._wanted: set[UUID] = set()
        self._pinned: set[UUID] = set()
        self._told: dict[UUID, tuple[bool, str]] = {}
        self._stirred = asyncio.Event()
        self._watches: set[asyncio.Task[None]] = set()
        self._upkeep = Background("presence", self._stay_present)
        self._outage = Outage("presence")
        self.draining = False
        notifications.on(replicas.WANTS, lambda _payload: self._stirred.set())
        routes.on_change(self._hold)

    async def __aenter__(self) -> Self:
        await self._keep_up()
        self._upkeep.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._upkeep.stop()
        for watch in self._watches:
            watch.cancel()
        with suppress(asyncio.CancelledError, DBAPIError, OSError, TimeoutError):
            await asyncio.wait_for(self._leave(), LEAVE_SECONDS)

    async def _leave(self) -> None:
        if self._id is not None:
            async with self._database.writes(self._actor) as session:
                await replicas.leave(session, self._id)

    async def _stay_present(self) -> None:
        while True:
            await wait_until_told(self._stirred, replicas.BEAT.total_seconds())
            try:
                await self._keep_up()
            except Exception as error:
                if not (is_connection_trouble(error) or isinstance(error, DBAPIError)):
                    raise
                self._outage.goes_on(error)
            else:
                self._outage.is_over()

    async def _keep_up(self) -> None:
        """One round: say that we live, see what is wanted, hold that, and tell what has changed."""
        async with self._database.writes(self._actor) as session:
            if self._id is None or not await replicas.beat(session, self._id, draining=self.draining):
                self._id, self._told = await replicas.join(session, self._actor.name), {}
            self._wanted = await replicas.wanted_versions(session)
        self._hold()
        await self._tell()

    def _hold(self) -> None:
        """Pin what is wanted and what the routes name, and nothing else."""
        wanted = self._wanted.union(*(route.version_ids for route in self._routes.all()))
        for version_id in wanted - self._pinned:
            self._cache.retry(version_id)
            self._cache.pin(version_id)
            if self._told.get(version_id) != READY or self._cache.find_ready(version_id) is None:
                self._watch(version_id)
        for version_id in self._pinned - wanted:
            self._cache.unpin(version_id)
            if self._told.get(version_id) != READY:
                self._told.pop(version_id, None)
        self._pinned = wanted

    def _watch(self, version_id: UUID) -> None:
        watch = asyncio.create_task(self._stir_when_opened(version_id))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)

    async def _stir_when_opened(self, version_id: UUID) -> None:
        with suppress(Refusal):  # its reason is told from the cache's states
            await self._cache.get_ready(version_id)
        self._stirred.set()

    async def _tell(self) -> None:
        """Say what has become ready, what can't, and what had to go to make room."""
        states = self._cache.states()
        news = {
            version_id: (state.phase == Phase.READY, state.reason)
            for version_id in self._pinned
            if (state := states.get(version_id)) is not None and state.phase in {Phase.READY, Phase.FAILED}
        }
        changed = {version_id: now for version_id, now in news.items() if self._told.get(version_id) != now}
        gone = self._told.keys() - states.keys()
        if self._id is None or not (changed or gone):
            return
        async with self._database.writes(self._actor) as session:
            for version_id, (is_ready, reason) in sorted(changed.items()):
                problem = None if is_ready else reason
                await replicas.note_preparation(session, self._id, version_id, problem=problem)
            await replicas.note_evictions(session, self._id, gone)
        self._told = {version_id: told for version_id, told in self._told.items() if version_id in states}
        self._told |= changed
