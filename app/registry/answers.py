"""The registry's rows put together as answers."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.registry import queries
from app.registry.schemas import ModelOut, VersionOut, VersionWhole
from app.registry.tables import Model, Version


async def answer_versions(session: AsyncSession, versions: Sequence[Version]) -> list[VersionOut]:
    """Versions with the aliases and environments that point to them, in two queries however many there are."""
    ids = [version.id for version in versions]
    aliases = await queries.aliases_of(session, ids)
    environments = await queries.environments_of(session, ids)
    return [VersionOut.of(each, aliases.get(each.id, ()), environments.get(each.id, ())) for each in versions]


async def answer_version(session: AsyncSession, version: Version) -> VersionOut:
    """One version with what points to it."""
    return (await answer_versions(session, [version]))[0]


async def answer_version_whole(session: AsyncSession, version: Version) -> VersionWhole:
    """One version with its files, history and gate reports."""
    return VersionWhole.assemble(
        await answer_version(session, version),
        await queries.files_of(session, version.id),
        await queries.stage_moves_of(session, version.id),
        await queries.gate_reports_of(session, version.id),
    )


async def answer_model(session: AsyncSession, model: Model) -> ModelOut:
    """One model with its newest version, its production versions and its aliases."""
    latest = await queries.find_latest_version(session, model.id)
    return ModelOut.of(
        model,
        await answer_version(session, latest) if latest else None,
        await queries.champions_in(session, model.id),
        await queries.aliases_in(session, model.id),
    )
