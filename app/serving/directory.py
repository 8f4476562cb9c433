"""What every model reference leads to, in memory: asked of the database once, and again after its model changed."""

from dataclasses import dataclass, field
from uuid import UUID

from app.core.database import Database
from app.core.errors import Refusal
from app.core.notify import Notifications
from app.core.outage import is_connection_trouble
from app.registry.errors import NoProductionVersion
from app.registry.facts import CHANNEL
from app.registry.queries import get_model, get_version, latest_references, read_reference
from app.registry.rules import Reference
from app.serving.lines import DirectRoute, Line, LogMode
from app.traffic.live import LiveRoute, RouteTable


@dataclass(frozen=True, slots=True)
class _Logging:
    mode: LogMode
    probability: float


@dataclass(slots=True)
class _Memory:
    """What is known of one model until it changes.

    Who reads the database takes hold of it before. When the model changes meanwhile, what was read goes into a
    memory that nobody asks any more.
    """

    logging: _Logging | None = None
    by_environment: dict[str, Line] = field(default_factory=dict)
    """Where its bare name leads."""
    by_reference: dict[str, Line] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return self.logging is None and not self.by_environment and not self.by_reference


class Directory:
    """Resolves model references to lines. Bare names follow the live routes, the rest is read and remembered.

    What may have changed is read anew, and counts no longer; but as long as the database is away it is what was known last.
    """

    def __init__(self, database: Database, routes: RouteTable, notifications: Notifications) -> None:
        self._database = database
        self._routes = routes
        self._memories: dict[str, _Memory] = {}
        self._outdated: dict[str, _Memory] = {}
        notifications.on(CHANNEL, self._forget)

    def find(self, reference: str, environment: str) -> Line | None:
        """The line of a reference, if it is in memory."""
        route = self._routes.find(reference, environment)
        if route is not None:
            return self._remembered(route)
        memory = self._memories.get(reference.partition("@")[0].partition(":")[0])
        return memory.by_reference.get(reference) if memory else None

    async def resolve(self, reference: str, environment: str) -> Line:
        """The line of a reference.

        Raises:
            BadReference, ModelNotFound, VersionNotFound, NoProductionVersion: it leads nowhere.
        """
        known = self.find(reference, environment)
        if known is not None:
            return known
        try:
            return await self._ask(reference, environment)
        except Exception as error:
            known = self._recall(reference, environment) if is_connection_trouble(error) else None
            if known is None:
                raise
            return known

    async def _ask(self, reference: str, environment: str) -> Line:
        route = self._routes.find(reference, environment)
        if route is not None:
            return await self._enter(route)
        return await self._look_up(read_reference(reference), environment)

    def _recall(self, reference: str, environment: str) -> Line | None:
        """Where a reference led when the database was last asked; routes are those of now."""
        route = self._routes.find(reference, environment)
        memory = self._outdated.get(route.model if route else reference.partition("@")[0].partition(":")[0])
        if memory is None:
            return None
        if route is None:
            return memory.by_reference.get(reference)
        known = memory.logging
        return None if known is None else Line(route, known.mode, known.probability)

    def _remembered(self, route: LiveRoute) -> Line | None:
        memory = self._memories.get(route.model)
        line = memory.by_environment.get(route.environment) if memory else None
        return line if line is not None and line.route is route else None

    async def _enter(self, route: LiveRoute) -> Line:
        memory = self._memories.setdefault(route.model, _Memory())
        logging = memory.logging or await self._read_logging(route.model, memory)
        line = memory.by_environment[route.environment] = Line(route, logging.mode, logging.probability)
        return line

    async def _read_logging(self, name: str, memory: _Memory) -> _Logging:
        async with self._database.reads() as session:
            model = await get_model(session, name)
        memory.logging = _Logging(LogMode(model.log_mode), model.log_probability)
        return memory.logging

    async def _look_up(self, reference: Reference, environment: str) -> Line:
        memory = self._memories.setdefault(reference.name, _Memory())
        try:
            version_id = await self._read_version(reference, environment)
            logging = memory.logging or await self._read_logging(reference.name, memory)
        except Refusal:
            self._outdated.pop(reference.name, None)
            if memory.is_empty:  # a caller who tries names can't fill the memory with them
                self._memories.pop(reference.name, None)
            raise
        line = memory.by_reference[str(reference)] = Line(
            DirectRoute(version_id), logging.mode, logging.probability
        )
        return line

    async def _read_version(self, reference: Reference, environment: str) -> UUID:
        async with self._database.reads() as session:
            if reference.is_bare:
                model = await get_model(session, reference.name)
                raise NoProductionVersion(
                    reference.name, environment, await latest_references(session, model.id)
                )
            return (await get_version(session, reference, environment)).id

    def _forget(self, name: str) -> None:
        """Drop what is remembered of a model, or of all of them when a notification may have been missed."""
        for model in [name] if name else list(self._memories):
            memory = self._memories.pop(model, None)
            if memory is not None and not memory.is_empty:
                self._outdated[model] = memory
