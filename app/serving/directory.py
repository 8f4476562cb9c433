"""What every model reference leads to, in memory: asked of the database once, and again after its model changed."""

from collections.abc import Callable
from dataclasses import dataclass

from app.core.database import Database
from app.core.notify import Notifications
from app.registry.errors import NoProductionVersion
from app.registry.facts import CHANNEL
from app.registry.queries import get_model, get_version, latest_references, read_reference
from app.registry.rules import Reference
from app.serving.lines import DirectRoute, Line, LogMode
from app.traffic.live import LiveRoute, RouteTable

MOST_REFERENCES = 10_000  # a caller who tries names can't fill the memory with them


@dataclass(frozen=True, slots=True)
class _Logging:
    mode: LogMode
    probability: float


class Directory:
    """Resolves model references to lines. Bare names follow the live routes, the rest is read and remembered."""

    def __init__(self, database: Database, routes: RouteTable, notifications: Notifications) -> None:
        self._database = database
        self._routes = routes
        self._logging: dict[str, _Logging] = {}
        self._bare: dict[tuple[str, str], Line] = {}
        self._named: dict[tuple[str, str], Line] = {}
        notifications.on(CHANNEL, self._forget)

    def find(self, reference: str, environment: str) -> Line | None:
        """The line of a reference, if it is in memory."""
        route = self._routes.find(reference, environment)
        return self._named.get((reference, environment)) if route is None else self._remembered(route)

    async def resolve(self, reference: str, environment: str) -> Line:
        """The line of a reference.

        Raises:
            BadReference, ModelNotFound, VersionNotFound, NoProductionVersion: it leads nowhere.
        """
        known = self.find(reference, environment)
        if known is not None:
            return known
        route = self._routes.find(reference, environment)
        if route is not None:
            return await self._enter(route)
        return await self._look_up(read_reference(reference), environment)

    def _remembered(self, route: LiveRoute) -> Line | None:
        line = self._bare.get((route.model, route.environment))
        return line if line is not None and line.route is route else None

    async def _enter(self, route: LiveRoute) -> Line:
        logging = self._logging.get(route.model) or await self._read_logging(route.model)
        line = Line(route, logging.mode, logging.probability)
        self._bare[route.model, route.environment] = line
        return line

    async def _read_logging(self, name: str) -> _Logging:
        async with self._database.reads() as session:
            model = await get_model(session, name)
        logging = self._logging[name] = _Logging(LogMode(model.log_mode), model.log_probability)
        return logging

    async def _look_up(self, reference: Reference, environment: str) -> Line:
        async with self._database.reads() as session:
            if reference.is_bare:
                model = await get_model(session, reference.name)
                raise NoProductionVersion(
                    reference.name, environment, await latest_references(session, model.id)
                )
            version = await get_version(session, reference, environment)
        logging = self._logging.get(reference.name) or await self._read_logging(reference.name)
        if len(self._named) >= MOST_REFERENCES:
            self._named.clear()
        line = Line(DirectRoute(version.id), logging.mode, logging.probability)
        self._named[str(reference), environment] = line
        return line

    def _forget(self, name: str) -> None:
        """Drop what is remembered of a model, or of all of them when a notification may have been missed."""
        if not name:
            for memory in (self._logging, self._bare, self._named):
                memory.clear()
            return
        self._logging.pop(name, None)
        about_it = _about(name)
        self._bare = {key: line for key, line in self._bare.items() if key[0] != name}
        self._named = {key: line for key, line in self._named.items() if not about_it(key[0])}


def _about(name: str) -> Callable[[str], bool]:
    return lambda reference: reference.startswith((f"{name}:", f"{name}@"))
