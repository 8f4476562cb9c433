"""What routes can be asked."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Select,
    Text,
    Uuid,
    bindparam,
    cast,
    func,
    join,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.database import Database
from app.core.prepared import PreparedRead
from app.traffic.rules import Arm, Owners, Shadow
from app.traffic.tables import Route, RouteRevision

RouteKey = tuple[UUID, str]
"""A model and an environment."""


@dataclass(frozen=True)
class RouteState:
    """A route as of one revision."""

    model_id: UUID
    model: str
    environment: str
    salt: str
    revision: int
    arms: tuple[Arm, ...]
    shadows: tuple[Shadow, ...]
    owners: Owners

    @property
    def version_ids(self) -> frozenset[UUID]:
        """Every version that the route names, shadows included."""
        arms = {arm.version_id for arm in self.arms}
        return frozenset(arms | {shadow.version_id for shadow in self.shadows})


def state_of(route: Route, revision: RouteRevision) -> RouteState:
    """A route's row and one of its revisions as a value."""
    named = route.model_id, route.model_name, route.environment, route.salt
    return state_from([*named, revision.number, revision.arms, revision.shadows, revision.owners])


def state_from(row: Sequence[Any]) -> RouteState:
    """A route from a row of `CURRENT`."""
    model_id, model, environment, salt, revision, arms, shadows, owners = row
    return RouteState(
        model_id,
        model,
        environment,
        salt,
        revision,
        tuple(Arm(arm["name"], UUID(arm["version_id"]), arm["weight"]) for arm in arms),
        tuple(Shadow(UUID(shadow["version_id"]), shadow["share"]) for shadow in shadows),
        tuple((arm, length) for arm, length in owners),
    )


_ROUTE, _REVISION = Route.__table__.c, RouteRevision.__table__.c
_IS_CURRENT = (_REVISION.route_id == _ROUTE.id) & (_REVISION.number == _ROUTE.revision)
_ROUTES = select(
    *(_ROUTE.model_id, _ROUTE.model_name, _ROUTE.environment, _ROUTE.salt, _ROUTE.revision),
    *(_REVISION.arms, _REVISION.shadows, _REVISION.owners),
).join_from(Route, RouteRevision, _IS_CURRENT)
_keys = (
    func.unnest(bindparam("models", type_=ARRAY(Uuid)), bindparam("environments", type_=ARRAY(Text)))
    .table_valued("model_id", "environment")
    .render_derived()
)
CURRENT = _ROUTES.where(
    _ROUTE.model_id == bindparam("model_id"), _ROUTE.environment == bindparam("environment")
)
"""For a `model_id` and an `environment`, what `state_from` reads."""
_ALL, _ONE = PreparedRead(_ROUTES), PreparedRead(CURRENT)
_SOME = PreparedRead(
    _ROUTES.join(_keys, (_keys.c.model_id == _ROUTE.model_id) & (_keys.c.environment == _ROUTE.environment))
)
_MARKS = PreparedRead(
    select(
        func.count(), cast(func.coalesce(func.sum(_ROUTE.revision), literal_column("0")), BigInteger)
    ).select_from(Route)
)


async def find_route(session: AsyncSession, model_id: UUID, environment: str) -> Route | None:
    """The route of a model in an environment."""
    query = select(Route).where(Route.model_id == model_id, Route.environment == environment)
    found: Route | None = await session.scalar(query)
    return found


async def find_current(session: AsyncSession, model_id: UUID, environment: str) -> RouteState | None:
    """The route of a model in an environment, as the database has it now."""
    row = await _ONE.row(session, model_id=model_id, environment=environment)
    return state_from(row) if row else None


async def get_revision(session: AsyncSession, route: Route, number: int) -> RouteRevision:
    """One revision of a route."""
    return await session.get_one(RouteRevision, (route.id, number))


async def get_revision_number(session: AsyncSession, model_id: UUID, environment: str) -> int:
    """The revision at which a route is; 0 where nothing ever answered."""
    route = await find_route(session, model_id, environment)
    return route.revision if route else 0


def select_revisions(route_id: UUID, before: int | None, limit: int) -> Select[RouteRevision]:
    """A route's revisions, newest first."""
    query = (
        select(RouteRevision).where(RouteRevision.route_id == route_id).order_by(RouteRevision.number.desc())
    )
    return query.where(RouteRevision.number < before).limit(limit + 1) if before else query.limit(limit + 1)


def select_routed_versions(environment: str) -> Select[UUID]:
    """The versions that some route of an environment names as it stands, shadows included."""
    listed = func.jsonb_array_elements(_REVISION.arms.concat(_REVISION.shadows), type_=JSONB)
    each = listed.column_valued("each", joins_implicitly=True)
    query = select(cast(each["version_id"].astext, Uuid)).where(_ROUTE.environment == environment)
    return query.select_from(join(Route, RouteRevision, _IS_CURRENT))


async def current_routes(source: AsyncSession | Database) -> Sequence[RouteState]:
    """Every route as it stands."""
    return [state_from(row) for row in await _ALL.rows(source)]


async def current_routes_of(database: Database, keys: Collection[RouteKey]) -> Sequence[RouteState]:
    """Some routes as they stand."""
    models, environments = zip(*keys, strict=True)
    return [state_from(row) for row in await _SOME.rows(database, models=models, environments=environments)]


async def find_unrouted(session: AsyncSession, models: Collection[str]) -> Mapping[str, datetime]:
    """Of these models those that had a route and that none names a version of now, with when the last was emptied."""
    if not models:
        return {}
    current = (RouteRevision.route_id == Route.id) & (RouteRevision.number == Route.revision)
    named = func.jsonb_array_length(RouteRevision.arms) + func.jsonb_array_length(RouteRevision.shadows)
    query = select(Route.model_name, func.max(RouteRevision.at).label("at")).join(RouteRevision, current)
    query = query.where(Route.model_name.in_(models)).group_by(Route.model_name)
    found = await session.execute(query.having(func.sum(named) == 0))
    return {row.model_name: row.at for row in found}


async def read_marks(database: Database) -> tuple[int, int]:
    """A pair that differs whenever some route has changed: how many routes, and the sum of their revisions."""
    [[routes, revisions]] = await _MARKS.rows(database)
    return routes, revisions
