"""Finding models and versions: the filters of a list, and the reads that they narrow."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.access import Caller
from app.core.paging import matches_any
from app.registry.rules import Stage
from app.registry.tables import Model, Version


@dataclass(frozen=True)
class Filters:
    """What a list of models or versions is narrowed to."""

    search: str | None = None
    stage: Stage | None = None
    tags: tuple[tuple[str, str | None], ...] = ()
    framework: str | None = None
    creator: str | None = None
    metrics: tuple[tuple[str, str, float], ...] = ()


def select_models(caller: Caller, filters: Filters, after: str | None, limit: int) -> Select[Model]:
    """Models by name, of which some version meets every filter."""
    query = (
        select(Model)
        .order_by(Model.name)
        .limit(limit + 1)
        .where(matches_any(Model.name, caller.models), Model.deleted_at.is_(None))
    )
    if after is not None:
        query = query.where(Model.name > after)
    if filters.search:
        query = query.where(Model.name.icontains(filters.search, autoescape=True))
    about_versions = _conditions(filters)
    if about_versions:
        query = query.where(
            select(Version.id)
            .where(Version.model_id == Model.id, Version.deleted_at.is_(None), *about_versions)
            .exists()
        )
    return query


def select_versions(model_id: UUID, filters: Filters, before: int | None, limit: int) -> Select[Version]:
    """Versions of a model, newest first, that meet every filter."""
    query = select(Version).where(
        Version.model_id == model_id, Version.deleted_at.is_(None), *_conditions(filters)
    )
    if before is not None:
        query = query.where(Version.number < before)
    return query.order_by(Version.number.desc()).limit(limit + 1)


def _conditions(filters: Filters) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if filters.stage:
        found.append(Version.stage == filters.stage)
    if filters.framework:
        found.append(Version.framework == filters.framework)
    if filters.creator:
        found.append(Version.creator == filters.creator)
    found.extend(_has_tag(key, value) for key, value in filters.tags)
    found.extend(_has_metric(*bound) for bound in filters.metrics)
    return found


def _has_tag(key: str, value: str | None) -> ColumnElement[bool]:
    return Version.tags.has_key(key) if value is None else Version.tags.contains({key: value})


def _has_metric(name: str, comparison: str, bound: float) -> ColumnElement[bool]:
    value: ColumnElement[float] = Version.metrics[name].as_float()
    return value >= bound if comparison == "min" else value <= bound


async def names_among(session: AsyncSession, names: Collection[str]) -> set[str]:
    """Which of these are the names of models."""
    query = select(Model.name).where(Model.name.in_(names), Model.deleted_at.is_(None))
    return set(await session.scalars(query)) if names else set()


async def names_without_versions(session: AsyncSession, names: Collection[str]) -> set[str]:
    """Which of these are the names of models that were registered, and have no version left."""
    living = select(Version.id).where(Version.model_id == Model.id, Version.deleted_at.is_(None))
    query = select(Model.name).where(Model.name.in_(names), ~living.exists())
    return set(await session.scalars(query)) if names else set()
