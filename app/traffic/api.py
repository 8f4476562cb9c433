"""Routes over HTTP."""

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import Header, Path, Query, Request, Response
from pydantic import AfterValidator

from app.core.access import Role, allows, caller_of
from app.core.database import Reading
from app.core.edge import Begins, Db, Reads, after_commit, room
from app.core.errors import FieldProblem
from app.core.paging import Page, Paged
from app.core.problems import problems
from app.core.replicas import Preparing
from app.core.wire import storable
from app.registry.errors import BadReference, ForceNeedsAdmin, GateClosed, ModelNotFound, VersionNotFound
from app.registry.gates import Gatekeeper
from app.registry.queries import find_champion, get_model, get_named_version, read_reference
from app.traffic import errors, queries
from app.traffic.actions import append_revision
from app.traffic.answers import answer_revisions
from app.traffic.rules import Arm, Shadow
from app.traffic.schemas import RevisionOut, RouteOrder

if TYPE_CHECKING:
    from app.registry.tables import Model

router = room("/models", "traffic")
ModelId = Annotated[str, Path(description="A model's name.", examples=["breast-cancer"])]
Environment = Annotated[str, Query(max_length=128), AfterValidator(storable)]
IfMatch = Annotated[str | None, Header(description="The revision that the caller has seen, as ETag gave it.")]


def read_if_match(value: str | None) -> int | None:
    """The revision in an `If-Match` header.

    Raises:
        FieldProblem: it holds none.
    """
    if value is None or value.strip() == "*":
        return None
    text = value.strip().strip('"')
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise FieldProblem("If-Match", f'{value!r} is no revision; send the ETag of the route, such as "7"')
    return int(text)


@router.get(
    "/{model_id}/route",
    response_model=RevisionOut,
    dependencies=[allows(Role.VIEWER)],
    responses=problems(ModelNotFound, errors.NoRoute),
)
async def get_route(
    model_id: ModelId, response: Response, session: Reads, environment: Environment = "production"
) -> Any:
    """Who answers now; the ETag is the revision."""
    model = await get_model(session, read_reference(model_id).name)
    route = await queries.find_route(session, model.id, environment)
    if route is None:
        raise errors.NoRoute(model.name, environment)
    response.headers["ETag"] = f'"{route.revision}"'
    revision = await queries.get_revision(session, route, route.revision)
    return (await answer_revisions(session, route, [revision]))[0]


@router.get(
    "/{model_id}/routes",
    response_model=Page[RevisionOut],
    dependencies=[allows(Role.VIEWER)],
    responses=problems(ModelNotFound, errors.NoRoute),
)
async def list_revisions(
    model_id: ModelId, session: Reads, paging: Paged, environment: Environment = "production"
) -> Any:
    """Every revision of a route, newest first."""
    model = await get_model(session, read_reference(model_id).name)
    route = await queries.find_route(session, model.id, environment)
    if route is None:
        raise errors.NoRoute(model.name, environment)
    rows = (await session.scalars(queries.select_revisions(route.id, paging.after, paging.limit))).all()
    revisions, following = paging.cut(rows, lambda revision: revision.number)
    return {"items": await answer_revisions(session, route, revisions), "next": following}


@router.put(
    "/{model_id}/route",
    response_model=RevisionOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(
        BadReference,
        ModelNotFound,
        VersionNotFound,
        errors.BadRoute,
        errors.RouteMoved,
        errors.RouteRaced,
        errors.NotPrepared,
        GateClosed,
        ForceNeedsAdmin,
    ),
)
async def set_route(
    model_id: ModelId,
    order: RouteOrder,
    request: Request,
    response: Response,
    database: Db,
    begin: Begins,
    if_match: IfMatch = None,
) -> Any:
    """Say who answers from now on, once every replica holds the versions ready.

    The production version keeps a share; to replace it, promote another. A version that never was in production
    passes the gate to it before it answers anybody; shadows need not.
    """
    async with database.reads() as reading:
        model, arms, shadows = await _read_order(reading, model_id, order)
        seen = await queries.get_revision_number(reading, model.id, order.environment)
    if (expected := read_if_match(if_match)) not in {None, seen}:
        raise errors.RouteMoved(expected, seen)
    await _pass_gates(request, order)
    version_ids = {arm.version_id for arm in arms} | {shadow.version_id for shadow in shadows}
    await _prepare(request, version_ids)
    session = await begin()
    try:
        await append_revision(
            session,
            model.id,
            order.environment,
            arms,
            shadows,
            kind="set",
            reason=order.reason,
            expected=seen,
        )
    except errors.RouteMoved:  # since this request began; its sender need not have said what it had seen
        raise errors.RouteRaced(model.name, order.environment) from None
    await request.app.state.preparing.release(session, version_ids)
    now = await get_route(model_id, response, Reading(session), order.environment)
    after_commit(
        request, partial(request.app.state.routes.wait_for, now.model, now.environment, now.revision)
    )
    return now


async def _prepare(request: Request, version_ids: Collection[UUID]) -> None:
    preparing: Preparing = request.app.state.preparing
    patience = request.app.state.settings.promote_patience_seconds
    actor = caller_of(request).actor()
    if lacking := await preparing.wait(version_ids, wanted_by=actor, seconds=patience):
        raise errors.NotPrepared([f"{each.replica}: {each.problem or 'still loading'}" for each in lacking])


async def _read_order(
    session: Reading, model_id: str, order: RouteOrder
) -> tuple["Model", list[Arm], list[Shadow]]:
    model = await get_model(session, read_reference(model_id).name)
    arms = [
        Arm(arm.name, await _version_id(session, model.id, arm.model_id), arm.weight) for arm in order.arms
    ]
    shadows = [
        Shadow(await _version_id(session, model.id, shadow.model_id), shadow.share)
        for shadow in order.shadows
    ]
    await _require_champion(session, model, order.environment, arms)
    return model, arms, shadows


async def _pass_gates(request: Request, order: RouteOrder) -> None:
    """Try at the gate to production whoever shall answer and has not been there.

    Raises:
        GateClosed: one of them failed, and it was not forced.
        ForceNeedsAdmin: see `Gatekeeper.pass_gate`.
    """
    gatekeeper: Gatekeeper = request.app.state.gatekeeper
    for arm in order.arms:
        if arm.weight > 0:
            await gatekeeper.pass_gate_once(
                arm.model_id,
                caller=caller_of(request),
                environment=order.environment,
                force=order.force,
                reason=order.reason,
            )


async def _require_champion(session: Reading, model: "Model", environment: str, arms: list[Arm]) -> None:
    champion = await find_champion(session, model.id, environment)
    if champion is None:
        raise errors.NoRoute(model.name, environment)
    if not any(arm.version_id == champion.id and arm.weight > 0 for arm in arms):
        raise errors.BadRoute(
            "arms", f"{champion.model_reference} is in production and keeps a share; promote another instead"
        )


async def _version_id(session: Reading, model_id: UUID, reference: str) -> UUID:
    version = await get_named_version(session, reference)
    if version.model_id != model_id:
        raise errors.BadRoute("arms", f"{reference} is a version of another model")
    if version.stage not in {"staging", "production", "deprecated"}:
        raise errors.BadRoute(
            "arms", f"{reference} is in {version.stage}; only validated versions may answer"
        )
    return version.id
