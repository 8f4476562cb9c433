"""The one way to change a route."""

from collections.abc import Sequence
from secrets import token_hex
from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value

from app.core import clock
from app.core.database import Actor
from app.core.facts import announce
from app.core.ids import new_id
from app.core.notify import notify
from app.registry.lifecycle import place_hold, release_hold
from app.registry.queries import get_model_by_id
from app.traffic.errors import BadRoute, RouteMoved, RouteRaced
from app.traffic.facts import RouteChanged
from app.traffic.queries import arms_of, find_current, versions_of
from app.traffic.rules import UNOWNED, Arm, Shadow, carry_over, check_arms, check_shadows, rebalance
from app.traffic.tables import Route, RouteRevision

CHANNEL = "routes"


async def append_revision(
    session: AsyncSession,
    model_id: UUID,
    environment: str,
    arms: Sequence[Arm],
    shadows: Sequence[Shadow] = (),
    *,
    kind: str,
    reason: str = "",
    expected: int | None = None,
) -> RouteRevision:
    """Give a route its next revision; the present one must not have changed meanwhile. No arms means no answer.

    Raises:
        BadRoute: the arms can't share callers out.
        RouteMoved: the route is not at the revision that the caller expected.
        RouteRaced: another change was quicker.
    """
    _check(arms, shadows)
    route, before = await _read(session, model_id, environment)
    if expected is not None and expected != route.revision:
        raise RouteMoved(expected, route.revision)
    await _step(session, route)
    revision = _revision_row(session, route, arms, shadows, before)
    revision.kind, revision.reason = kind, reason
    session.add(revision)
    await _hold(session, environment, before, revision)
    weights = {arm.name: arm.weight for arm in arms}
    announce(session, RouteChanged(route.model_name, environment, route.revision, kind, weights, reason))
    await notify(session, CHANNEL, f"{model_id} {environment}")
    return revision


def _check(arms: Sequence[Arm], shadows: Sequence[Shadow]) -> None:
    try:
        check_shadows(shadows)
        if arms:
            check_arms(arms)
    except ValueError as problem:
        raise BadRoute("arms", str(problem)) from None
    if len({arm.version_id for arm in arms}) != len(arms):
        raise BadRoute("arms", "two arms are the same version; give it one arm with the sum of the weights")


async def _read(
    session: AsyncSession, model_id: UUID, environment: str
) -> tuple[Route, RouteRevision | None]:
    current = await find_current(session, model_id, environment)
    if current is not None:
        return current
    model = await get_model_by_id(session, model_id)
    new = Route(
        id=new_id(),
        model_id=model_id,
        model_name=model.name,
        environment=environment,
        revision=0,
        salt=token_hex(8),
        made_at=clock.now(),
    )
    try:
        async with session.begin_nested():
            session.add(new)
    except IntegrityError:
        raise RouteRaced(model.name, environment) from None
    return new, None


async def _step(session: AsyncSession, route: Route) -> None:
    """Compare-and-set: of two transactions that saw the same revision, one goes on."""
    mine = update(Route).where(Route.id == route.id, Route.revision == route.revision)
    following = route.revision + 1
    moved = await session.scalar(
        mine.values(revision=following).returning(Route.revision), execution_options=_BY_HAND
    )
    if moved is None:
        raise RouteRaced(route.model_name, route.environment)
    set_committed_value(route, "revision", moved)


_BY_HAND = {"synchronize_session": False}


def _revision_row(
    session: AsyncSession,
    route: Route,
    arms: Sequence[Arm],
    shadows: Sequence[Shadow],
    before: RouteRevision | None,
) -> RouteRevision:
    actor: Actor = session.info["actor"]
    return RouteRevision(
        route_id=route.id,
        number=route.revision,
        arms=[{"name": arm.name, "version_id": str(arm.version_id), "weight": arm.weight} for arm in arms],
        shadows=[{"version_id": str(shadow.version_id), "share": shadow.share} for shadow in shadows],
        owners=_owners(arms, before),
        actor=actor.name,
        at=clock.now(),
    )


async def _hold(
    session: AsyncSession, environment: str, before: RouteRevision | None, after: RouteRevision
) -> None:
    """Keep what the route names from being archived or deleted, and let go of what it names no more."""
    named, were = versions_of(after), versions_of(before) if before else frozenset()
    for version_id in sorted(were - named):
        await release_hold(session, version_id, f"route {environment}")
    for version_id in sorted(named - were):
        await place_hold(session, version_id, f"route {environment}")


def _owners(arms: Sequence[Arm], before: RouteRevision | None) -> list[Any]:
    """Who owns which buckets, as few as possible of them changing hands."""
    if not arms:
        return []
    owned = UNOWNED
    if before is not None and before.owners:
        owned = carry_over(tuple((arm, length) for arm, length in before.owners), arms_of(before), arms)
    return [list(run) for run in rebalance(owned, [arm.weight for arm in arms])]
