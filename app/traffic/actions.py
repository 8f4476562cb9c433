"""The one way to change a route."""

from collections.abc import Sequence
from secrets import token_hex
from typing import Any
from uuid import UUID

from sqlalchemy import Select, bindparam, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_unless
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Actor
from app.core.facts import announce
from app.core.ids import new_id
from app.core.notify import notify
from app.core.prepared import PreparedTogether
from app.registry.lifecycle import SHIFT, require_held, shift_values
from app.registry.queries import get_model_by_id
from app.traffic.errors import BadRoute, RouteMoved, RouteRaced
from app.traffic.facts import RouteChanged
from app.traffic.queries import RouteState, find_current
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
    before: RouteState | None = None,
) -> RouteRevision:
    """Give a route its next revision; the present one must not have changed meanwhile. No arms means no answer.

    `before` is the route as it stands, where this transaction has read it already.

    Raises:
        BadRoute: the arms can't share callers out.
        RouteMoved: the route is not at the revision that the caller expected.
        RouteRaced: another change was quicker.
    """
    _check(arms, shadows)
    before = before or await find_current(session, model_id, environment)
    before = before or await _open(session, model_id, environment)
    if expected is not None and expected != before.revision:
        raise RouteMoved(expected, before.revision)
    revision = _revision_row(session, before, arms, shadows)
    revision.kind, revision.reason = kind, reason
    named = frozenset([*(arm.version_id for arm in arms), *(shadow.version_id for shadow in shadows)])
    await _append(session, before, revision, named)
    weights = {arm.name: arm.weight for arm in arms}
    announce(session, RouteChanged(before.model, environment, revision.number, kind, weights, reason))
    notify(session, CHANNEL, f"{model_id} {environment}")
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


async def _open(session: AsyncSession, model_id: UUID, environment: str) -> RouteState:
    """A route that nobody has changed yet."""
    model = await get_model_by_id(session, model_id)
    salt = token_hex(8)
    new = insert_unless(Route).values(
        id=new_id(),
        model_id=model_id,
        model_name=model.name,
        environment=environment,
        revision=0,
        salt=salt,
        made_at=clock.now(),
    )
    if await session.scalar(new.on_conflict_do_nothing().returning(Route.id)) is None:
        raise RouteRaced(model.name, environment)
    return RouteState(model_id, model.name, environment, salt, 0, (), (), ())


def _revision_row(
    session: AsyncSession, before: RouteState, arms: Sequence[Arm], shadows: Sequence[Shadow]
) -> RouteRevision:
    actor: Actor = session.info["actor"]
    return RouteRevision(
        number=before.revision + 1,
        arms=[{"name": arm.name, "version_id": str(arm.version_id), "weight": arm.weight} for arm in arms],
        shadows=[{"version_id": str(shadow.version_id), "share": shadow.share} for shadow in shadows],
        owners=_owners(arms, before),
        actor=actor.name,
        at=clock.now(),
    )


async def _append(
    session: AsyncSession, before: RouteState, revision: RouteRevision, named: frozenset[UUID]
) -> None:
    """Compare-and-set: of two transactions that saw the same revision, one goes on.

    With it, what the route names is held from now on, and what it names no more is not.
    """
    key = {"model": before.model_id, "place": before.environment, "seen": before.revision}
    values = {name: getattr(revision, name) for name in _APPENDED}
    needed = named - before.version_ids
    shift = shift_values(f"route {before.environment}", off=before.version_ids - named, onto=needed)
    appended, held = await _APPEND.rows(session, **key, **values, **shift)
    if not appended:
        raise RouteRaced(before.model, before.environment)
    await require_held(session, needed, held)
    revision.route_id = appended[0][0]


def _append_statement() -> Select[Any]:
    stepped = (
        update(Route)
        .where(Route.model_id == bindparam("model"), Route.environment == bindparam("place"))
        .where(Route.revision == bindparam("seen"))
        .values(revision=Route.revision + 1)
        .returning(Route.id)
        .cte()
    )
    columns = RouteRevision.__table__.columns
    given = [bindparam(name, type_=columns[name].type) for name in _APPENDED]
    row = select(stepped.c.id, *given)
    appended = insert(RouteRevision).from_select(["route_id", *_APPENDED], row)
    return select(appended.returning(RouteRevision.route_id).cte())


_APPENDED = ("number", "arms", "shadows", "owners", "kind", "reason", "actor", "at")
_APPEND = PreparedTogether(_append_statement(), SHIFT)


def _owners(arms: Sequence[Arm], before: RouteState) -> list[Any]:
    """Who owns which buckets, as few as possible of them changing hands."""
    if not arms:
        return []
    owned = carry_over(before.owners, before.arms, arms) if before.owners else UNOWNED
    return [list(run) for run in rebalance(owned, [arm.weight for arm in arms])]
