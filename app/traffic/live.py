"""The routes in this process's memory: read at the start, told of changes, confirmed by asking.

Looking a route up is reading a dictionary. While the database is away the last known routes go on serving.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from app.core.background import Background
from app.core.database import Database
from app.core.notify import Notifications, wait_until_told
from app.core.outage import Outage
from app.traffic.actions import CHANNEL
from app.traffic.queries import RouteKey, RouteState, current_routes, current_routes_of, read_marks
from app.traffic.rules import BUCKETS, Layer, Shadow, bucket_of, count_owned, layer_salt, owner_table

CONFIRM_SECONDS = 1.0
CATCH_UP_SECONDS = 2.0
Listener = Callable[[], None]


@dataclass(frozen=True)
class Choice:
    """Who answers one request, and how likely that was."""

    arm: str
    version_id: UUID
    propensity: float


class LiveRoute:
    """One route as of one revision, ready to choose."""

    def __init__(self, state: RouteState) -> None:
        self.model_id = state.model_id
        self.model = state.model
        self.environment = state.environment
        self.revision = state.revision
        self.shadows: tuple[Shadow, ...] = state.shadows
        self._salt = layer_salt(bytes.fromhex(state.salt), Layer.VARIANT)
        shares = [owned / BUCKETS for owned in count_owned(state.owners, len(state.arms))]
        self._choices = [
            Choice(arm.name, arm.version_id, share) for arm, share in zip(state.arms, shares, strict=True)
        ]
        self._by_bucket = owner_table(state.owners)
        self.version_ids = state.version_ids
        """Every version that must be ready for this route, shadows included."""

    def choose(self, entity_key: str | None) -> Choice:
        """The arm of an entity, the same one while the weights stay; for none, any arm by weight."""
        if len(self._choices) == 1:
            return self._choices[0]
        if entity_key is None:
            return self._choices[self._by_bucket[random.randrange(BUCKETS)]]  # noqa: S311 - spreads load, keeps no secret
        return self._choices[self._by_bucket[bucket_of(entity_key.encode(), self._salt)]]

    def find_arm(self, name: str) -> Choice | None:
        """The arm of this name."""
        return next((choice for choice in self._choices if choice.arm == name), None)

    @property
    def is_open(self) -> bool:
        """Whether anybody answers."""
        return bool(self._choices)

    @property
    def arm_names(self) -> tuple[str, ...]:
        """The names of all arms."""
        return tuple(choice.arm for choice in self._choices)


@dataclass
class RouteTable:
    """Every route, by model and environment. Use as an async context manager, entered before its notifications."""

    database: Database
    confirmed_at: float = field(default=0.0, init=False)
    outage: Outage = field(default_factory=lambda: Outage("routes"), init=False)
    _routes: dict[tuple[str, str], LiveRoute] = field(default_factory=dict, init=False)
    _changed: set[RouteKey] = field(default_factory=set, init=False)
    _stirred: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _renewed: asyncio.Condition = field(default_factory=asyncio.Condition, init=False)
    _listeners: list[Listener] = field(default_factory=list, init=False)
    _upkeep: Background = field(init=False)

    def listen(self, notifications: Notifications) -> None:
        """Be told of changes."""
        notifications.on(CHANNEL, self._hear)

    def _hear(self, payload: str) -> None:
        """Note which route has changed; nothing said means that a change may have been missed."""
        model_id, _, environment = payload.partition(" ")
        if payload:
            self._changed.add((UUID(model_id), environment))
        else:
            self.confirmed_at = min(self.confirmed_at, time.monotonic() - CONFIRM_SECONDS)
        self._stirred.set()

    def on_change(self, listener: Listener) -> None:
        """Call `listener` whenever some route has changed."""
        self._listeners.append(listener)

    def find(self, model: str, environment: str) -> LiveRoute | None:
        """The route of a model in an environment, if anybody answers there."""
        route = self._routes.get((model, environment))
        return route if route is not None and route.is_open else None

    def all(self) -> Iterable[LiveRoute]:
        """Every route."""
        return self._routes.values()

    async def wait_for(self, model: str, environment: str, revision: int) -> None:
        """Return once this process answers by a revision or a later one, so that who changed a route meets it.

        The change is committed already: when this process is slow to learn of it, waiting longer helps nobody.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_SECONDS), self._renewed:
                await self._renewed.wait_for(lambda: self._revision_of(model, environment) >= revision)

    def _revision_of(self, model: str, environment: str) -> int:
        route = self._routes.get((model, environment))
        return route.revision if route is not None else 0

    @property
    def seconds_since_confirmed(self) -> float:
        """How long ago these routes were last known to be the current ones."""
        return time.monotonic() - self.confirmed_at

    async def __aenter__(self) -> Self:
        await self._confirm()
        self._upkeep = Background("routes", self._stay_current)
        self._upkeep.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._upkeep.stop()

    async def _stay_current(self) -> None:
        while True:
            await wait_until_told(self._stirred, CONFIRM_SECONDS)
            try:
                await self._catch_up()
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                self.outage.goes_on(error)
            else:
                self.outage.is_over()

    async def _catch_up(self) -> None:
        """Read what is said to have changed, and now and then whether that is all."""
        if self._changed:
            changed, self._changed = self._changed, set()
            states = await current_routes_of(self.database, changed)
            await self._renew(self._routes | self._lives_of(states))
        if self.seconds_since_confirmed >= CONFIRM_SECONDS:
            await self._confirm()

    async def _confirm(self) -> None:
        marks = await read_marks(self.database)
        states = await current_routes(self.database) if marks != self._marks() else None
        self.confirmed_at = time.monotonic()
        if states is not None:
            await self._renew(self._lives_of(states))

    def _marks(self) -> tuple[int, int]:
        return len(self._routes), sum(route.revision for route in self._routes.values())

    async def _renew(self, routes: dict[tuple[str, str], LiveRoute]) -> None:
        self._routes = routes
        for listener in self._listeners:
            listener()
        async with self._renewed:
            self._renewed.notify_all()

    def _lives_of(self, states: Iterable[RouteState]) -> dict[tuple[str, str], LiveRoute]:
        return {(state.model, state.environment): self._keep_or_make(state) for state in states}

    def _keep_or_make(self, state: RouteState) -> LiveRoute:
        known = self._routes.get((state.model, state.environment))
        return known if known is not None and known.revision == state.revision else LiveRoute(state)
