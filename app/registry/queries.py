"""What the registry can be asked."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, Select, and_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.registry.errors import (
    BadReference,
    ModelNotFound,
    NoProductionVersion,
    VersionNeeded,
    VersionNotFound,
)
from app.registry.rules import Reference, Semantic, Stage, parse_reference
from app.registry.tables import Alias, GateReport, Hold, Model, Part, StageMove, Tenure, Version, VersionFile

PRODUCTION = "production"
SHOWN_CANDIDATES = 5


def read_reference(text: str) -> Reference:
    """A model reference as it came in.

    Raises:
        BadReference: it is none.
    """
    try:
        return parse_reference(text)
    except ValueError as error:
        raise BadReference(text, str(error)) from None


async def find_model(session: AsyncSession, name: str) -> Model | None:
    """The model of this name."""
    model: Model | None = await session.scalar(
        select(Model).where(Model.name == name, Model.deleted_at.is_(None))
    )
    return model


async def get_model(session: AsyncSession, name: str) -> Model:
    """The model of this name.

    Raises:
        ModelNotFound: there is none.
    """
    model = await find_model(session, name)
    if model is None:
        raise ModelNotFound(name)
    return model


async def get_model_by_id(session: AsyncSession, model_id: UUID) -> Model:
    """The model that another room's row names."""
    return await session.get_one(Model, model_id)


async def get_version(
    session: AsyncSession, reference: str | Reference, environment: str = PRODUCTION
) -> Version:
    """The version that a reference means; a bare name means what production serves.

    Raises:
        BadReference, ModelNotFound, VersionNotFound, NoProductionVersion.
    """
    wanted = read_reference(reference) if isinstance(reference, str) else reference
    version: Version | None = await session.scalar(_select_meant(wanted, environment))
    if version is not None:
        return version
    model = await get_model(session, wanted.name)
    if wanted.is_bare:
        raise NoProductionVersion(wanted.name, environment, await latest_references(session, model.id))
    raise VersionNotFound(str(wanted), await latest_references(session, model.id))


async def get_named_version(session: AsyncSession, reference: str, environment: str = PRODUCTION) -> Version:
    """As `get_version`, for verbs that must be told which version: a bare name is not enough.

    Raises:
        VersionNeeded: the reference is bare; and what `get_version` raises.
    """
    wanted = read_reference(reference)
    if wanted.is_bare:
        model = await get_model(session, wanted.name)
        raise VersionNeeded(wanted.name, await latest_references(session, model.id))
    return await get_version(session, wanted, environment)


def _select_meant(wanted: Reference, environment: str) -> Select[Version]:
    model_id = id_under(wanted.name)
    query = select(Version).where(Version.model_id == model_id, Version.deleted_at.is_(None))
    if wanted.number is not None:
        return query.where(Version.number == wanted.number)
    if wanted.semantic is not None:
        return query.where(_has_semantic(wanted.semantic))
    if wanted.alias is not None:
        of_alias = Alias.model_id == model_id, Alias.alias == wanted.alias
        return query.join(Alias, Alias.version_id == Version.id).where(*of_alias)
    of_tenure = Tenure.model_id == model_id, _reigns(environment)
    return query.join(Tenure, Tenure.version_id == Version.id).where(*of_tenure)


def id_under(name: str | ColumnElement[str]) -> ScalarSelect[UUID]:
    """The id of the model that has or had this name: rows of a model are indexed by it, not by the name they show."""
    return select(Model.id).where(Model.name == name).scalar_subquery()


def _has_semantic(semantic: Semantic) -> ColumnElement[bool]:
    return and_(
        Version.major == semantic.major, Version.minor == semantic.minor, Version.patch == semantic.patch
    )


def _reigns(environment: str) -> ColumnElement[bool]:
    return and_(Tenure.environment == environment, Tenure.ended_at.is_(None))


async def latest_references(session: AsyncSession, model_id: UUID) -> list[str]:
    """The newest versions of a model, to name in an error's way out."""
    newest = select(Version).where(Version.model_id == model_id, Version.deleted_at.is_(None))
    versions = await session.scalars(newest.order_by(Version.number.desc()).limit(SHOWN_CANDIDATES))
    return [version.model_reference for version in versions]


async def find_champion(
    session: AsyncSession, model_id: UUID, environment: str = PRODUCTION
) -> Version | None:
    """The version that is in production in an environment."""
    query = select(Version).join(Tenure, Tenure.version_id == Version.id)
    version: Version | None = await session.scalar(
        query.where(Tenure.model_id == model_id, _reigns(environment))
    )
    return version


async def get_version_by_id(session: AsyncSession, version_id: UUID) -> Version:
    """The version that another room's row names."""
    return await session.get_one(Version, version_id)


async def list_names(session: AsyncSession) -> Sequence[str]:
    """The names of all models."""
    return (await session.scalars(select(Model.name).where(Model.deleted_at.is_(None)))).all()


async def find_version_by_id(session: AsyncSession, version_id: UUID) -> Version | None:
    """The same, unless it was deleted."""
    query = select(Version).where(Version.id == version_id, Version.deleted_at.is_(None))
    version: Version | None = await session.scalar(query)
    return version


async def find_version(session: AsyncSession, model: str, number: int) -> Version | None:
    """The version of a model, unless it was deleted."""
    query = select(Version).where(
        Version.model_name == model, Version.number == number, Version.deleted_at.is_(None)
    )
    version: Version | None = await session.scalar(query)
    return version


async def version_ids_of(session: AsyncSession, model_id: UUID) -> Sequence[UUID]:
    """Every version that a model has."""
    return (await session.scalars(select(Version.id).where(Version.model_id == model_id))).all()


async def references_of(session: AsyncSession, version_ids: Collection[UUID]) -> dict[UUID, str]:
    """The canonical `name:number` of some versions."""
    rows = await session.scalars(select(Version).where(Version.id.in_(version_ids)))
    return {version.id: version.model_reference for version in rows}


async def signatures_by_id(
    session: AsyncSession, version_ids: Collection[UUID]
) -> dict[UUID, dict[str, Any]]:
    """The signatures of some versions, deleted ones too."""
    rows = await session.execute(select(Version.id, Version.signature).where(Version.id.in_(version_ids)))
    return {row.id: row.signature for row in rows}


async def lock_version(session: AsyncSession, version_id: UUID) -> Version:
    """A version whose stage nobody else can change until this transaction ends.

    Raises:
        VersionNotFound: it was deleted.
    """
    query = select(Version).where(Version.id == version_id).with_for_update()
    version = (await session.scalars(query.execution_options(populate_existing=True))).one()
    if version.deleted_at is not None:
        raise VersionNotFound(version.model_reference, await latest_references(session, version.model_id))
    return version


async def list_tenures(
    session: AsyncSession, model_id: UUID, environment: str = PRODUCTION
) -> Sequence[Tenure]:
    """Who was in production in an environment, newest first."""
    query = select(Tenure).where(Tenure.model_id == model_id, Tenure.environment == environment)
    return (await session.scalars(query.order_by(Tenure.began_at.desc(), Tenure.id.desc()))).all()


async def find_predecessor(
    session: AsyncSession, model_id: UUID, environment: str = PRODUCTION
) -> Version | None:
    """The version that was in production before the present one, and can be again."""
    present = await find_champion(session, model_id, environment)
    query = (
        select(Version)
        .join(Tenure, Tenure.version_id == Version.id)
        .where(Tenure.model_id == model_id, Tenure.environment == environment, Tenure.ended_at.is_not(None))
        .where(Version.stage == Stage.DEPRECATED, Version.deleted_at.is_(None))
        .order_by(Tenure.ended_at.desc())
        .limit(1)
    )
    if present is not None:
        query = query.where(Version.id != present.id)
    version: Version | None = await session.scalar(query)
    return version


async def aliases_of(session: AsyncSession, version_ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    """The aliases of some versions."""
    found: dict[UUID, list[str]] = {}
    query = (
        select(Alias.version_id, Alias.alias).where(Alias.version_id.in_(version_ids)).order_by(Alias.alias)
    )
    for version_id, alias in await session.execute(query):
        found.setdefault(version_id, []).append(alias)
    return found


async def aliases_in(session: AsyncSession, model_id: UUID) -> dict[str, str]:
    """A model's aliases and the versions that they point to."""
    query = select(Alias.alias, Version).join(Version, Version.id == Alias.version_id).order_by(Alias.alias)
    rows = await session.execute(query.where(Alias.model_id == model_id))
    return {alias: version.model_reference for alias, version in rows}


async def champions_in(session: AsyncSession, model_id: UUID) -> dict[str, str]:
    """Environment → the version of a model that is in production there."""
    query = select(Tenure.environment, Version).join(Version, Version.id == Tenure.version_id)
    rows = await session.execute(query.where(Tenure.model_id == model_id, Tenure.ended_at.is_(None)))
    return {environment: version.model_reference for environment, version in rows}


async def environments_of(session: AsyncSession, version_ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    """In which environments some versions are in production."""
    found: dict[UUID, list[str]] = {}
    query = select(Tenure.version_id, Tenure.environment).where(
        Tenure.version_id.in_(version_ids), Tenure.ended_at.is_(None)
    )
    for version_id, environment in await session.execute(query.order_by(Tenure.environment)):
        found.setdefault(version_id, []).append(environment)
    return found


async def holders_of(session: AsyncSession, version_id: UUID) -> list[str]:
    """Who needs a version kept: its holds and its aliases."""
    holds = await session.scalars(
        select(Hold.holder).where(Hold.version_id == version_id).order_by(Hold.holder)
    )
    aliases = await session.scalars(
        select(Alias.alias).where(Alias.version_id == version_id).order_by(Alias.alias)
    )
    return [*holds, *(f"alias {alias}" for alias in aliases)]


async def files_of(
    session: AsyncSession, version_id: UUID, part: Part = Part.ARTIFACT
) -> Sequence[VersionFile]:
    """The files of a version's artifact, or of another part of it."""
    query = select(VersionFile).where(VersionFile.version_id == version_id, VersionFile.part == part)
    query = query.order_by(VersionFile.path)
    return (await session.scalars(query)).all()


async def served_files_of(session: AsyncSession, version: Version) -> tuple[Sequence[VersionFile], bytes]:
    """The files that replicas load for a version, and the signature over them."""
    if version.serving_signature is None:
        return await files_of(session, version.id), version.artifact_signature
    return await files_of(session, version.id, Part.SERVING), version.serving_signature


async def stage_moves_of(session: AsyncSession, version_id: UUID) -> Sequence[StageMove]:
    """A version's way through its stages, oldest first."""
    query = select(StageMove).where(StageMove.version_id == version_id).order_by(StageMove.id)
    return (await session.scalars(query)).all()


async def gate_reports_of(session: AsyncSession, version_id: UUID) -> Sequence[GateReport]:
    """What the gates found, newest first."""
    query = select(GateReport).where(GateReport.version_id == version_id).order_by(GateReport.id.desc())
    return (await session.scalars(query)).all()
