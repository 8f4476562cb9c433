"""One look at the database for all parts of the health report: brief, bounded, and at most once a second."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from app.alerts.queries import sealed_channels
from app.core.database import Database, Reading
from app.core.health import Part
from app.core.outage import is_connection_trouble
from app.core.replicas import Replica, list_live_replicas
from app.evidence.backlog import Spools
from app.monitoring.figures import Told, list_figures
from app.registry.queries import references_of
from app.system.queries import JobCounts, Leader, count_jobs, find_leader, unsealed_seconds

T = TypeVar("T")
PATIENCE_SECONDS = 0.5  # a load balancer's probe waits one second, as a rule
REMEMBERED_SECONDS = 1.0


@dataclass(frozen=True)
class Glance:
    """What the database said."""

    latency_ms: float
    server_version: str
    jobs: JobCounts
    leader: Leader | None
    unsealed_seconds: float
    replicas: Sequence[Replica]
    log: Part
    channels: Mapping[str, bytes]
    """What alert channels need the key of, as `Vault.can_open` takes it."""


@dataclass(frozen=True)
class Away:
    """The database said nothing; of the log, the disk tells."""

    reason: str
    log: Part


@dataclass
class Watch:
    """Asks the database, and remembers for a moment what it said.

    Attributes:
        list_versions: the versions that the report will want to name.
        names: what they are called; kept, so that they have names while the database is away.
    """

    database: Database
    spools: Spools
    list_versions: Callable[[], Collection[UUID]]
    names: dict[UUID, str] = field(default_factory=dict)
    _seen: Glance | Away | None = None
    _seen_at: float = 0.0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self) -> Glance | Away:
        """What the database says, or said within the last second."""
        async with self._turn:
            if self._seen is None or time.monotonic() - self._seen_at > REMEMBERED_SECONDS:
                self._seen = await self._patiently(self._ask)
                self._seen_at = time.monotonic()
            return self._seen

    async def look_at_models(self) -> Sequence[Told]:
        """The latest figures of models; none while the database is away."""
        told = await self._patiently(self._read_models)
        return () if isinstance(told, Away) else told

    async def _ask(self) -> Glance:
        async with self.database.reads() as session:
            await self._learn_names(session)
            return await _read(session, await self.spools.examine(session))

    async def _read_models(self) -> Sequence[Told]:
        async with self.database.reads() as session:
            return await list_figures(session)

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T | Away:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await ask()
        except TimeoutError:
            return Away(f"no answer within {PATIENCE_SECONDS} s", self.spools.examine_alone())
        except Exception as error:
            if not (is_connection_trouble(error) or isinstance(error, SQLAlchemyError)):
                raise
            return Away(f"can't be reached: {type(error).__name__}", self.spools.examine_alone())

    async def _learn_names(self, session: Reading) -> None:
        unknown = set(self.list_versions()) - self.names.keys()
        if unknown:
            self.names |= await references_of(session, unknown)


async def _read(session: Reading, log: Part) -> Glance:
    began = time.perf_counter()
    version = (await session.execute(select(func.current_setting("server_version")))).scalar_one()
    return Glance(
        latency_ms=round((time.perf_counter() - began) * 1000, 3),
        server_version=version,
        jobs=await count_jobs(session),
        leader=await find_leader(session),
        unsealed_seconds=await unsealed_seconds(session),
        replicas=await list_live_replicas(session),
        log=log,
        channels=await sealed_channels(session),
    )
