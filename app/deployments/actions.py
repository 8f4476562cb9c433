"""What deployments do: start, wait for every replica, switch, settle."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.database import Actor
from app.core.facts import announce
from app.core.ids import new_id
from app.core.jobs import enqueue
from app.core.locks import try_hold_until_commit
from app.core.notify import notify
from app.core.prepared import PreparedInsert
from app.core.replicas import PREPARED, replicas_lacking, want, want_no_more
from app.deployments import facts
from app.deployments.errors import (
    AlreadyServing,
    ChampionChanged,
    DeploymentSettled,
    DeploymentUnderway,
    NothingToRollBackTo,
    NotOfThisModel,
)
from app.deployments.queries import find_open_deployment, lock_deployment
from app.deployments.rules import Kind, Phase, Strategy, first_problem
from app.deployments.scene import Scene, read_scene
from app.deployments.tables import Deployment
from app.registry.lifecycle import enthrone, require_way_to_production, retire
from app.registry.queries import (
    PRODUCTION,
    find_predecessor,
    get_model,
    get_version,
    list_tenures,
    read_reference,
)
from app.registry.succession import Contender, Standing, get_model_of
from app.traffic.actions import append_revision
from app.traffic.errors import RouteMoved
from app.traffic.rules import Arm

ADVANCE = "advance deployment"
SETTLED = "deployments"
"""The channel on which the end of a deployment is told."""


@dataclass(frozen=True)
class Order:
    """What a caller wants of a deployment."""

    environment: str = PRODUCTION
    kind: Kind = Kind.PROMOTE
    reason: str = ""
    forced: bool = False
    expected_revision: int | None = None
    prepare_seconds: float = 120.0
    standing: Standing | None = None
    """How the version stood at the gate that it had to pass, if there was one."""


async def start_deployment(session: AsyncSession, version_id: UUID, order: Order) -> Deployment:
    """Bring a version to production: at once when every live replica holds it ready, else when they all do.

    Raises:
        AlreadyServing: it is there.
        ChampionChanged: another version went to production since it was at the gate.
        DeploymentUnderway: another version is on its way.
        IllegalMove: its stage does not lead to production.
        RouteMoved: the route is not at the revision that the caller has seen.
    """
    model_id, model_name = order.standing.model if order.standing else await get_model_of(session, version_id)
    await _shut_others_out(session, model_id, model_name, order.environment)
    scene = await read_scene(session, model_id, version_id, order.environment)
    _require_quiet(scene, model_name, order)
    _require_change(*scene.contenders, order)
    deployment = _deployment_row(session, order, *scene.contenders)
    if scene.lacking:
        await _prepare(session, deployment, [each.replica for each in scene.lacking])
    else:
        await _activate(session, deployment, scene)
    await _ADD.add(session, deployment)
    return deployment


def _require_quiet(scene: Scene, model_name: str, order: Order) -> None:
    if scene.rival_id is not None:
        raise DeploymentUnderway(model_name, order.environment, str(scene.rival_id))
    if order.expected_revision not in {None, scene.revision}:
        raise RouteMoved(order.expected_revision, scene.revision)


def _require_change(version: Contender, champion: Contender | None, order: Order) -> None:
    if champion is not None and champion.id == version.id:
        raise AlreadyServing(version.model_reference, order.environment)
    require_way_to_production(version, force=order.forced)
    if order.standing and order.standing.champion_id != (champion.id if champion else None):
        now = champion.model_reference if champion else None
        raise ChampionChanged(version.model_reference, order.environment, now)


def _deployment_row(
    session: AsyncSession, order: Order, version: Contender, champion: Contender | None
) -> Deployment:
    actor: Actor = session.info["actor"]
    now = clock.now()
    return Deployment(
        id=new_id(),
        model_id=version.model_id,
        model_name=version.model_name,
        environment=order.environment,
        version_id=version.id,
        version_number=version.number,
        from_version_id=champion.id if champion else None,
        from_version_number=champion.number if champion else None,
        strategy=Strategy.DIRECT,
        kind=order.kind,
        phase=Phase.PREPARING,
        forced=order.forced,
        expected_revision=order.expected_revision,
        reason=order.reason,
        actor=actor.name,
        role=actor.role,
        steps=[],
        made_at=now,
        deadline_at=now + timedelta(seconds=order.prepare_seconds),
    )


_ADD = PreparedInsert(Deployment)


async def _shut_others_out(session: AsyncSession, model_id: UUID, model: str, environment: str) -> None:
    """Be the only one to change who is in production there, until this transaction ends.

    What is read after this, by another statement, is what every earlier change has left behind.
    """
    if not await try_hold_until_commit(session, f"deploy {model_id} {environment}"):
        raise DeploymentUnderway(model, environment, None)


async def _enter(session: AsyncSession, model_id: UUID, model: str, environment: str) -> None:
    await _shut_others_out(session, model_id, model, environment)
    rival = await find_open_deployment(session, model_id, environment)
    if rival is not None:
        raise DeploymentUnderway(model, environment, str(rival))


def _note(deployment: Deployment, step: str, **evidence: object) -> None:
    deployment.steps = [*deployment.steps, {"step": step, "at": clock.now().isoformat(), **evidence}]


def _about(deployment: Deployment) -> tuple[str, int, str, str]:
    return deployment.model_name, deployment.version_number, deployment.environment, str(deployment.id)


async def _prepare(session: AsyncSession, deployment: Deployment, replicas: list[str]) -> None:
    _note(deployment, "prepare", waiting_for=sorted(replicas))
    await want(session, deployment.version_id, f"deployment {deployment.id}")
    await enqueue(
        session,
        ADVANCE,
        {"deployment_id": str(deployment.id)},
        dedupe_key=f"{ADVANCE} {deployment.id}",
        waits_for=PREPARED,
        max_attempts=1000,
    )
    announce(session, facts.DeploymentStarted(*_about(deployment), deployment.strategy, deployment.kind))


async def _activate(session: AsyncSession, deployment: Deployment, scene: Scene | None = None) -> None:
    """One route revision and one change of stage, together."""
    revision = await append_revision(
        session,
        deployment.model_id,
        deployment.environment,
        [Arm("champion", deployment.version_id, 1.0)],
        expected=deployment.expected_revision,
        kind=deployment.kind,
        reason=deployment.reason,
        before=scene.route if scene else None,
    )
    await enthrone(
        session,
        deployment.version_id,
        environment=deployment.environment,
        reason=deployment.reason or deployment.kind,
        force=deployment.forced,
        contenders=scene.contenders if scene else None,
    )
    deployment.revision = revision.number
    _note(deployment, "activate", revision=revision.number)
    _settle(deployment, Phase.LIVE)
    happened = facts.VersionRolledBack if deployment.kind == Kind.ROLLBACK else facts.VersionPromoted
    announce(
        session,
        happened(*_about(deployment), revision.number, deployment.from_version_number, deployment.reason),
    )


def _settle(deployment: Deployment, phase: Phase) -> None:
    deployment.phase, deployment.settled_at = phase, clock.now()


async def _end_preparation(session: AsyncSession, deployment: Deployment) -> None:
    """Replicas need not hold the version for this deployment any more; who waits for it learns that it settled."""
    await want_no_more(session, deployment.version_id, f"deployment {deployment.id}")
    notify(session, SETTLED, str(deployment.id))


async def advance_deployment(session: AsyncSession, deployment_id: UUID) -> bool:
    """Take an open deployment as far as it can go now; whether it is settled.

    Raises:
        DeploymentNotFound: there is no such deployment.
    """
    deployment = await lock_deployment(session, deployment_id)
    if deployment.phase != Phase.PREPARING:
        return True
    lacking = await replicas_lacking(session, deployment.version_id)
    problem = first_problem([(each.replica, each.problem) for each in lacking])
    if lacking and problem is None and clock.now() >= deployment.deadline_at:
        problem = f"{', '.join(each.replica for each in lacking)}: not ready before the deadline"
    if problem is not None:
        await fail_deployment(session, deployment, problem)
    elif not lacking:
        await _activate(session, deployment)
        await _end_preparation(session, deployment)
    return deployment.phase != Phase.PREPARING


async def fail_deployment(session: AsyncSession, deployment: Deployment, problem: str) -> None:
    """End a deployment that can't be carried out; traffic stays as it is."""
    _note(deployment, "fail", problem=problem)
    _settle(deployment, Phase.FAILED)
    await _end_preparation(session, deployment)
    announce(session, facts.DeploymentFailed(*_about(deployment), problem))


async def abort_deployment(session: AsyncSession, deployment_id: UUID, reason: str) -> Deployment:
    """Call an open deployment off.

    Raises:
        DeploymentNotFound: there is no such deployment.
        DeploymentSettled: it has ended.
    """
    deployment = await lock_deployment(session, deployment_id)
    if deployment.phase != Phase.PREPARING:
        raise DeploymentSettled(str(deployment_id), deployment.phase)
    _note(deployment, "abort", reason=reason)
    _settle(deployment, Phase.ABORTED)
    await _end_preparation(session, deployment)
    announce(session, facts.DeploymentAborted(*_about(deployment), reason))
    return deployment


async def choose_rollback_target(
    session: AsyncSession, reference: str, to: str | None, environment: str
) -> UUID:
    """The version that a rollback returns to: the one named, or the one in production before.

    Raises:
        NothingToRollBackTo: nothing was in production before.
        NotOfThisModel: the one named never was in production under this name.
    """
    model = await get_model(session, read_reference(reference).name)
    if to is None:
        predecessor = await find_predecessor(session, model.id, environment)
        if predecessor is None:
            raise NothingToRollBackTo(model.name, environment)
        return predecessor.id
    target = await get_version(session, to if ":" in to or "@" in to else f"{model.name}:{to}")
    served = {tenure.version_id for tenure in await list_tenures(session, model.id, environment)}
    if target.id not in served:
        raise NotOfThisModel(model.name, target.model_reference)
    return target.id


async def withdraw(session: AsyncSession, reference: str, environment: str, reason: str) -> UUID:
    """Let a model answer no more traffic in an environment; its version there is deprecated.

    Raises:
        DeploymentUnderway: a version is on its way there.
        NoProductionVersion: there is none.
    """
    model = await get_model(session, read_reference(reference).name)
    await _enter(session, model.id, model.name, environment)
    version = await get_version(session, model.name, environment)
    await append_revision(session, version.model_id, environment, [], kind="withdraw", reason=reason)
    await retire(session, version.id, environment=environment, reason=reason)
    announce(session, facts.VersionWithdrawn(version.model_name, version.number, environment, reason))
    return version.id
