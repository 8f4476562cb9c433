"""Deployments over HTTP: promote, roll back, watch, call off."""

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Path, Query, Request, Response
from pydantic import AfterValidator, ValidationError

from app.core.access import Role, allows, caller_of
from app.core.edge import (
    Begin,
    Begins,
    Reads,
    Writes,
    after_commit,
    begin_later,
    in_transaction,
    room,
    shortcut,
)
from app.core.paging import Page, Paged
from app.core.problems import problems
from app.core.wire import json_answer, storable
from app.deployments import actions, errors, queries
from app.deployments.actions import Order
from app.deployments.rules import Kind, Phase
from app.deployments.schemas import (
    AbortOrder,
    DeploymentOut,
    DeployOrder,
    PromoteOrder,
    RollbackOrder,
    WithdrawOrder,
)
from app.deployments.tables import Deployment
from app.deployments.waiting import SettledDeployments
from app.deployments.ways import require_a_way
from app.registry import errors as registry_errors
from app.registry.answers import answer_version
from app.registry.gates import Gatekeeper
from app.registry.queries import get_version_by_id
from app.registry.rules import Stage
from app.registry.schemas import VersionOut
from app.traffic.api import IfMatch, read_if_match
from app.traffic.errors import RouteMoved, RouteRaced
from app.traffic.live import RouteTable

verbs = room("/models", "deployments")
router = room("/deployments", "deployments")
ModelId = Annotated[
    str, Path(description="`name:3`, `name:2.1.0` or `name@alias`", examples=["breast-cancer:1"])
]
ModelName = Annotated[str | None, AfterValidator(lambda name: name and storable(name)), Query(max_length=128)]
Prefer = Annotated[str | None, Header(description="`respond-async` answers 202 at once.")]
REFUSED = (
    registry_errors.BadReference,
    registry_errors.ModelNotFound,
    registry_errors.VersionNotFound,
    registry_errors.VersionNeeded,
    registry_errors.IllegalMove,
    registry_errors.GateClosed,
    registry_errors.ForceNeedsAdmin,
    errors.AlreadyServing,
    errors.ChampionChanged,
    errors.DeploymentUnderway,
    RouteMoved,
    RouteRaced,
)
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"description": "Under way; `Location` tells where to look.", "model": DeploymentOut}
}


@dataclass(frozen=True)
class Asked:
    """How a caller asks for a change of traffic: what it has seen of the route, and whether it waits."""

    request: Request
    begin: Begin
    if_match: str | None
    prefer: str | None

    def order(self, kind: Kind, **wishes: Any) -> Order:
        """What the caller wants."""
        prepare_seconds = self.request.app.state.settings.prepare_seconds
        expected = read_if_match(self.if_match)
        return Order(kind=kind, expected_revision=expected, prepare_seconds=prepare_seconds, **wishes)

    def answer(self, deployment: Deployment) -> Response:
        """200 for what has happened; for what is under way 202, unless it settles within the request's patience."""
        answer = DeploymentOut.of(deployment)
        if self.prefer is None or "respond-async" not in self.prefer.lower():
            after_commit(self.request, lambda: _see_through(self.request, answer))
        return _as_response(answer)


async def _asked(request: Request, begin: Begins, if_match: IfMatch = None, prefer: Prefer = None) -> Asked:
    return Asked(request, begin, if_match, prefer)


Change = Annotated[Asked, Depends(_asked)]


@in_transaction
async def _promote_plainly(request: Request) -> Response | None:
    """A promote whose order is as it should be; what is wrong with another is for FastAPI to say."""
    if request.headers.get("content-type") != "application/json":
        return None
    try:
        order = PromoteOrder.model_validate_json(await request.body())
    except ValidationError:
        return None
    headers = request.headers
    asked = Asked(request, await begin_later(request), headers.get("if-match"), headers.get("prefer"))
    return await _bring_to_production(request.path_params["model_id"], order, asked)


@verbs.post(
    "/{model_id}/promote",
    response_model=DeploymentOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=ACCEPTED | problems(*REFUSED),
)
@shortcut(_promote_plainly)
async def promote_version(model_id: ModelId, order: PromoteOrder, asked: Change) -> Any:
    """Let a version answer: it passes the gate, every replica loads and warms it, then one revision switches."""
    return await _bring_to_production(model_id, order, asked)


@verbs.post(
    "/{model_id}/deploy",
    response_model=DeploymentOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=ACCEPTED | problems(*REFUSED),
)
async def deploy_version(model_id: ModelId, order: DeployOrder, asked: Change) -> Any:
    """Bring a version to answer by a strategy; `direct` is what promote does."""
    return await _bring_to_production(model_id, order, asked)


async def _bring_to_production(reference: str, order: PromoteOrder, asked: Asked) -> Response:
    gatekeeper: Gatekeeper = asked.request.app.state.gatekeeper
    standing = await gatekeeper.find_standing(reference, Stage.PRODUCTION, order.environment)
    require_a_way(standing, order.environment, force=order.force)
    await gatekeeper.pass_gate(
        standing,
        Stage.PRODUCTION,
        caller=caller_of(asked.request),
        force=order.force,
        reason=order.reason,
    )
    wanted = asked.order(
        Kind.PROMOTE,
        environment=order.environment,
        reason=order.reason,
        forced=order.force,
        standing=None if order.force else standing,
    )
    return asked.answer(await actions.start_deployment(await asked.begin(), standing.version_id, wanted))


@verbs.post(
    "/{model_id}/rollback",
    response_model=DeploymentOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=ACCEPTED | problems(*REFUSED, errors.NothingToRollBackTo, errors.NotOfThisModel),
)
async def roll_back(model_id: ModelId, order: RollbackOrder, asked: Change) -> Any:
    """Return to the version that was in production before, or to a named one; no gate stands in the way back."""
    session = await asked.begin()
    target = await actions.choose_rollback_target(session, model_id, order.to, order.environment)
    wanted = asked.order(Kind.ROLLBACK, environment=order.environment, reason=order.reason)
    return asked.answer(await actions.start_deployment(session, target, wanted))


@verbs.post(
    "/{model_id}/deprecate",
    response_model=VersionOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(registry_errors.ModelNotFound, registry_errors.NoProductionVersion),
)
async def deprecate_model(model_id: ModelId, order: WithdrawOrder, session: Writes) -> Any:
    """Let a model answer no more in an environment; its version there is deprecated without a successor."""
    version_id = await actions.withdraw(session, model_id, order.environment, order.reason)
    return await answer_version(session, await get_version_by_id(session, version_id))


async def _see_through(request: Request, deployment: DeploymentOut) -> Response | None:
    """Wait until the deployment has settled, and until this process answers by what it changed."""
    state, answer = request.app.state, None
    if deployment.phase == Phase.PREPARING:
        settled: SettledDeployments = state.settled_deployments
        deployment = await settled.wait(deployment.id, state.settings.promote_patience_seconds)
        answer = _as_response(deployment)
    if deployment.revision is not None:
        routes: RouteTable = state.routes
        await routes.wait_for(deployment.model, deployment.environment, deployment.revision)
    return answer


def _as_response(deployment: DeploymentOut) -> Response:
    answer = json_answer(deployment.model_dump_json())
    answer.status_code = {Phase.PREPARING: 202, Phase.FAILED: 503}.get(deployment.phase, 200)
    answer.headers["Location"] = deployment.links["self"]
    return answer


@router.get("", response_model=Page[DeploymentOut], dependencies=[allows(Role.VIEWER)])
async def list_deployments(
    request: Request, session: Reads, paging: Paged, model: ModelName = None, phase: Phase | None = None
) -> Any:
    """Deployments, newest first."""
    query = queries.select_deployments(caller_of(request), model, phase, paging.after, paging.limit)
    rows = (await session.scalars(query)).all()
    deployments, following = paging.cut(rows, lambda row: str(row.id))
    return {"items": [DeploymentOut.of(row) for row in deployments], "next": following}


@router.get(
    "/{deployment_id}",
    response_model=DeploymentOut,
    dependencies=[allows(Role.VIEWER)],
    responses=problems(errors.DeploymentNotFound),
)
@router.get(
    "/{deployment_id}/status",
    response_model=DeploymentOut,
    include_in_schema=False,
    dependencies=[allows(Role.VIEWER)],
)
async def get_deployment(deployment_id: UUID, request: Request, session: Reads) -> Any:
    """A deployment with every step and its evidence."""
    return DeploymentOut.of(await queries.get_deployment(session, deployment_id, caller_of(request)))


@router.post(
    "/{deployment_id}/abort",
    response_model=DeploymentOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=problems(errors.DeploymentNotFound, errors.DeploymentSettled),
)
async def abort_deployment(deployment_id: UUID, order: AbortOrder, request: Request, session: Writes) -> Any:
    """Call a deployment off while it is being prepared; traffic stays as it is."""
    await queries.get_deployment(session, deployment_id, caller_of(request))
    return DeploymentOut.of(await actions.abort_deployment(session, deployment_id, order.reason))


@router.post(
    "/{deployment_id}/rollback",
    response_model=DeploymentOut,
    dependencies=[allows(Role.OPERATOR)],
    responses=ACCEPTED
    | problems(errors.DeploymentNotFound, errors.NothingToRollBackTo, errors.DeploymentUnderway),
)
async def undo_deployment(deployment_id: UUID, order: AbortOrder, asked: Change) -> Any:
    """Return to the version that answered before this deployment."""
    session = await asked.begin()
    deployment = await queries.get_deployment(session, deployment_id, caller_of(asked.request))
    if deployment.from_version_id is None:
        raise errors.NothingToRollBackTo(deployment.model_name, deployment.environment)
    wanted = asked.order(Kind.ROLLBACK, environment=deployment.environment, reason=order.reason)
    return asked.answer(await actions.start_deployment(session, deployment.from_version_id, wanted))
