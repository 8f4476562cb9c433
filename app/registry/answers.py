"""The registry's rows put together as answers."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.registry import queries
from app.registry.errors import ModelNotFound
from app.registry.rules import Reference
from app.registry.schemas import ModelOut, VersionOut, VersionWhole
from app.registry.summaries import find_version_whole, summarise_models
from app.registry.tables import Version


async def answer_versions(session: AsyncSession, versions: Sequence[Version]) -> list[VersionOut]:
    """Versions with the aliases and environments that point to them, in two queries however many there are."""
    ids = [version.id for version in versions]
    aliases = await queries.aliases_of(session, ids)
    environments = await queries.environments_of(session, ids)
    return [VersionOut.of(each, aliases.get(each.id, ()), environments.get(each.id, ())) for each in versions]


async def answer_version(session: AsyncSession, version: Version) -> VersionOut:
    """One version with what points to it."""
    return (await answer_versions(session, [version]))[0]


async def answer_version_whole(session: AsyncSession, reference: Reference) -> VersionWhole:
    """The version that a reference means, with its files, history and gate reports.

    Raises:
        ModelNotFound, VersionNotFound, NoProductionVersion: it means none.
    """
    found = None if reference.is_bare else await find_version_whole(session, reference)
    if found is not None:
        return found
    version = await queries.get_version(session, reference)
    return await answer_version_whole(session, Reference(version.model_name, number=version.number))


async def answer_model(session: AsyncSession, name: str) -> ModelOut:
    """One model with its newest version, its production versions and its aliases.

    Raises:
        ModelNotFound: there is none.
    """
    found = await summarise_models(session, [name])
    if not found:
        raise ModelNotFound(name)
    return found[0]
