"""What deployments can be asked."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Select, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.access import Caller
from app.core.paging import matches_any
from app.core.prepared import PreparedRead
from app.deployments.errors import DeploymentNotFound
from app.deployments.rules import Phase
from app.deployments.tables import Deployment


async def get_deployment(
    session: AsyncSession, deployment_id: UUID, caller: Caller | None = None
) -> Deployment:
    """The deployment with this id, if the caller may see its model.

    Raises:
        DeploymentNotFound: there is none, or none for this caller.
    """
    deployment = await session.get(Deployment, deployment_id)
    if deployment is None or (caller is not None and not caller.sees(deployment.model_name)):
        raise DeploymentNotFound(str(deployment_id))
    return deployment


async def lock_deployment(session: AsyncSession, deployment_id: UUID) -> Deployment:
    """A deployment that nobody else can move until this transaction ends.

    Raises:
        DeploymentNotFound: there is none.
    """
    query = select(Deployment).where(Deployment.id == deployment_id).with_for_update()
    found: Deployment | None = await session.scalar(query.execution_options(populate_existing=True))
    if found is None:
        raise DeploymentNotFound(str(deployment_id))
    return found


async def find_open_deployment(session: AsyncSession, model_id: UUID, environment: str) -> UUID | None:
    """The deployment of a model that is under way in an environment."""
    row = await _OPEN.row(session, model_id=model_id, environment=environment)
    return row[0] if row else None


OPEN = (
    select(Deployment.id)
    .where(Deployment.model_id == bindparam("model_id"), Deployment.environment == bindparam("environment"))
    .where(text("phase = 'preparing'"))  # as the index of open ones says it
)
"""For a `model_id` and an `environment`, the id of the deployment under way."""
_OPEN = PreparedRead(OPEN)


async def models_underway(session: AsyncSession, models: Collection[str]) -> set[str]:
    """Those of these models of which a version is on its way to production, in whatever environment."""
    query = select(Deployment.model_name).where(Deployment.model_name.in_(models))
    return set(await session.scalars(query.where(Deployment.phase == Phase.PREPARING)))


def select_deployments(
    caller: Caller, model: str | None, phase: Phase | None, before: str | None, limit: int
) -> Select[Deployment]:
    """The deployments that a caller may see, newest first."""
    query = (
        select(Deployment)
        .order_by(Deployment.id.desc())
        .where(matches_any(Deployment.model_name, caller.models))
    )
    if model is not None:
        query = query.where(Deployment.model_name == model)
    if phase is not None:
        query = query.where(Deployment.phase == phase)
    if before is not None:
        query = query.where(Deployment.id < UUID(before))
    return query.limit(limit + 1)
