"""All that the rooms know of one version: its registry entry, its time in production, where it came from and went."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import clock
from app.core.access import Caller
from app.core.wire import Outgoing
from app.deployments.queries import select_deployments
from app.evidence.queries import LogFilters, select_predictions
from app.registry import queries as registry
from app.registry import search
from app.registry.answers import read_version_whole
from app.registry.rules import Reference
from app.registry.schemas import VersionWhole
from app.traffic.queries import current_routes

if TYPE_CHECKING:
    from app.registry.tables import Version

COUNTED_PREDICTIONS = 100_000
MOST_ANCESTORS = 50
MOST_CHILDREN = 1000
MOST_DEPLOYMENTS = 200


class TenureOut(Outgoing):
    """A time in production."""

    environment: str
    began_at: datetime
    ended_at: datetime | None


class CountOut(Outgoing):
    """How many predictions the log has of a version; beyond a hundred thousand it is not counted on."""

    count: int
    is_lower_bound: bool


@dataclass(frozen=True)
class Record:
    """What is known of one version.

    Attributes:
        version: its registry entry, with files, history and gate reports.
        probe: what its first load found.
        sensitive: the columns whose values not everybody may see.
        ancestors: the versions that it was made from, the nearest first.
        children: the versions that were made from it.
    """

    version: VersionWhole
    probe: dict[str, Any]
    sensitive: frozenset[str]
    ancestors: list[str]
    children: list[str]
    tenures: list[TenureOut]
    predictions: CountOut

    @property
    def seconds_in_production(self) -> float:
        """Over all environments, until now where it still serves."""
        return sum(
            ((tenure.ended_at or clock.now()) - tenure.began_at).total_seconds() for tenure in self.tenures
        )


async def read_record(session: AsyncSession, reference: str, caller: Caller) -> Record:
    """What is known of the version that a reference means, but for models that the caller may not see.

    Raises:
        BadReference, ModelNotFound, VersionNotFound, NoProductionVersion.
    """
    version = await registry.get_version(session, reference)
    model = await registry.get_model_by_id(session, version.model_id)
    whole = await read_version_whole(session, Reference(version.model_name, number=version.number))
    return Record(
        version=whole,
        probe=version.probe,
        sensitive=frozenset(model.sensitive_columns),
        ancestors=await _ancestors_of(session, version, caller),
        children=await _children_of(session, version),
        tenures=await _tenures_of(session, version, whole),
        predictions=await _count_predictions(session, version),
    )


async def _ancestors_of(session: AsyncSession, version: "Version", caller: Caller) -> list[str]:
    found: list[Version] = []
    while version.parent_id is not None and len(found) < MOST_ANCESTORS:
        version = await registry.get_version_by_id(session, version.parent_id)
        found.append(version)
    return [ancestor.model_reference for ancestor in found if caller.sees(ancestor.model_name)]


async def _children_of(session: AsyncSession, version: "Version") -> list[str]:
    siblings = search.select_versions(version.model_id, search.Filters(), None, MOST_CHILDREN).subquery().c
    numbers = select(siblings.number).where(siblings.parent_id == version.id).order_by(siblings.number)
    return [str(Reference(version.model_name, number=number)) for number in await session.scalars(numbers)]


async def _tenures_of(session: AsyncSession, version: "Version", whole: VersionWhole) -> list[TenureOut]:
    """The version's times in production, newest first, in each environment that its history names."""
    environments = {move.environment for move in whole.history if move.environment} | {*whole.environments}
    found = [
        TenureOut.model_validate(tenure)
        for environment in sorted(environments)
        for tenure in await registry.list_tenures(session, version.model_id, environment)
        if tenure.version_id == version.id
    ]
    return sorted(found, key=lambda tenure: tenure.began_at, reverse=True)


async def _count_predictions(session: AsyncSession, version: "Version") -> CountOut:
    answered = select_predictions(version.model_name, LogFilters(version=version.number, shadow=False))
    some = answered.order_by(None).limit(COUNTED_PREDICTIONS + 1).subquery()
    count = await session.scalar(select(func.count()).select_from(some)) or 0
    return CountOut(count=min(count, COUNTED_PREDICTIONS), is_lower_bound=count > COUNTED_PREDICTIONS)


class DeploymentBrief(Outgoing):
    """A deployment that brought a version into traffic, or tried to."""

    id: UUID
    environment: str
    kind: str
    phase: str
    made_at: datetime


class RouteBrief(Outgoing):
    """A route that names a version."""

    environment: str
    revision: int
    arms: list[str]
    shadow: bool


async def deployments_of(
    session: AsyncSession, caller: Caller, version: VersionWhole
) -> list[DeploymentBrief]:
    """The deployments of a version among its model's newest."""
    query = select_deployments(caller, version.name, None, None, MOST_DEPLOYMENTS)
    rows = (await session.scalars(query)).all()
    return [DeploymentBrief.model_validate(row) for row in rows if row.version_number == version.version]


async def routes_of(session: AsyncSession, reference: str) -> Sequence[RouteBrief]:
    """The routes that name a version now, as an arm or as a shadow."""
    version = await registry.get_version(session, reference)
    found = []
    for route in await current_routes(session):
        arms = [arm.name for arm in route.arms if arm.version_id == version.id]
        is_shadow = any(shadow.version_id == version.id for shadow in route.shadows)
        if arms or is_shadow:
            found.append(
                RouteBrief(
                    environment=route.environment, revision=route.revision, arms=arms, shadow=is_shadow
                )
            )
    return found
