"""What routes can be asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.traffic.errors import NoRoute, RouteMoved
from app.traffic.rules import Arm, Owners, Shadow
from app.traffic.tables import Route, RouteRevision


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


def arms_of(revision: RouteRevision) -> tuple[Arm, ...]:
    """The arms of a revision."""
    return tuple(Arm(arm["name"], UUID(arm["version_id"]), arm["weight"]) for arm in revision.arms)


def versions_of(revision: RouteRevision) -> frozenset[UUID]:
    """Every version that a revision names, shadows included."""
    return frozenset(UUID(named["version_id"]) for named in (*revision.arms, *revision.shadows))


def state_of(route: Route, revision: RouteRevision) -> RouteState:
    """A route's row and one of its revisions as a value."""
    return RouteState(
        route.model_id,
        route.model_name,
        route.environment,
        route.salt,
        revision.number,
        arms_of(revision),
        tuple(Shadow(UUID(shadow["version_id"]), shadow["share"]) for shadow in revision.shadows),
        tuple((arm, length) for arm, length in revision.owners),
    )


async def find_route(session: AsyncSession, model_id: UUID, environment: str) -> Route | None:
    """The route of a model in an environment."""
    query = select(Route).where(Route.model_id == model_id, Route.environment == environment)
    found: Route | None = await session.scalar(query)
    return found


async def find_current(
    session: AsyncSession, model_id: UUID, environment: str
) -> tuple[Route, RouteRevision] | None:
    """The route of a model in an environment with its newest revision, as the database has them now."""
    query = (
        select(Route, RouteRevision)
        .join(RouteRevision, (RouteRevision.route_id == Route.id) & (RouteRevision.number == Route.revision))
        .where(Route.model_id == model_id, Route.environment == environment)
        .execution_options(populate_existing=True)
    )
    row = (await session.execute(query)).one_or_none()
    return (row[0], row[1]) if row else None


async def get_revision(session: AsyncSession, route: Route, number: int) -> RouteRevision:
    """One revision of a route."""
    return await session.get_one(RouteRevision, (route.id, number))


async def get_state(session: AsyncSession, model_id: UUID, model: str, environment: str) -> RouteState:
    """Who answers for a model in an environment now.

    Raises:
        NoRoute: nothing ever did.
    """
    route = await find_route(session, model_id, environment)
    if route is None:
        raise NoRoute(model, environment)
    return state_of(route, await get_revision(session, route, route.revision))


async def require_revision(
    session: AsyncSession, model_id: UUID, environment: str, expected: int | None
) -> None:
    """Make sure that a route is as the caller has seen it, if the caller says what that was.

    Raises:
        RouteMoved: it is at another revision.
    """
    if expected is None:
        return
    route = await find_route(session, model_id, environment)
    current = route.revision if route else 0
    if current != expected:
        raise RouteMoved(expected, current)


def select_revisions(route_id: UUID, before: int | None, limit: int) -> Select[RouteRevision]:
    """A route's revisions, newest first."""
    query = (
        select(RouteRevision).where(RouteRevision.route_id == route_id).order_by(RouteRevision.number.desc())
    )
    return query.where(RouteRevision.number < before).limit(limit + 1) if before else query.limit(limit + 1)


async def current_routes(session: AsyncSession) -> Sequence[RouteState]:
    """Every route as it stands."""
    query = select(Route, RouteRevision).join(
        RouteRevision, (RouteRevision.route_id == Route.id) & (RouteRevision.number == Route.revision)
    )
    return [state_of(route, revision) for route, revision in await session.execute(query)]


async def current_route_of(session: AsyncSession, model_id: UUID, environment: str) -> RouteState | None:
    """One route as it stands."""
    route = await find_route(session, model_id, environment)
    return state_of(route, await get_revision(session, route, route.revision)) if route else None


async def read_marks(session: AsyncSession) -> tuple[int, int]:
    """A pair that differs whenever some route has changed: how many routes, and the sum of their revisions."""
    row = (await session.execute(select(func.count(), func.coalesce(func.sum(Route.revision), 0)))).one()
    return int(row[0]), int(row[1])
