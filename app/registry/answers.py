"""The registry's rows put together as answers, each the JSON that leaves."""

from collections.abc import Iterable, Sequence

from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.core.wire import json_answer
from app.registry import queries
from app.registry.errors import ModelNotFound
from app.registry.rules import Reference
from app.registry.schemas import VersionWhole
from app.registry.summaries import Source, find_version_whole, summarise_models, summarise_versions
from app.registry.tables import Version


async def find_answer(source: Source, reference: Reference) -> Response | None:
    """The model that a bare name means, or the version, whole, that any other reference does."""
    if not reference.is_bare:
        found = await find_version_whole(source, reference)
    else:
        found = dict(await summarise_models(source, [reference.name])).get(reference.name)
    return None if found is None else json_answer(found)


async def answer_version(
    session: AsyncSession, version: Version, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """One version with what points to it."""
    return json_answer((await summarise_versions(session, [version.id]))[0], status, headers)


async def answer_version_whole(session: AsyncSession, reference: Reference) -> Response:
    """The version that a reference means, with its files, history and gate reports.

    Raises:
        ModelNotFound, VersionNotFound, NoProductionVersion: it means none.
    """
    return json_answer(await _get_version_whole(session, reference))


async def read_version_whole(session: AsyncSession, reference: Reference) -> VersionWhole:
    """The same for who reads in it; raises as `answer_version_whole` does."""
    return VersionWhole.model_validate_json(await _get_version_whole(session, reference))


async def _get_version_whole(session: AsyncSession, reference: Reference) -> str:
    found = None if reference.is_bare else await find_version_whole(session, reference)
    if found is not None:
        return found
    version = await queries.get_version(session, reference)
    return await _get_version_whole(session, Reference(version.model_name, number=version.number))


async def answer_model(session: AsyncSession, name: str) -> Response:
    """One model with its newest version, its production versions and its aliases.

    Raises:
        ModelNotFound: there is none.
    """
    found = await find_answer(session, Reference(name))
    if found is None:
        raise ModelNotFound(name)
    return found


async def answer_versions(
    session: AsyncSession, versions: Sequence[Version], following: str | None
) -> Response:
    """A page of versions with what points to them."""
    return answer_page(await summarise_versions(session, [version.id for version in versions]), following)


def answer_page(items: Iterable[str], following: str | None) -> Response:
    """A page of what is JSON already."""
    return json_answer(f'{{"items":[{",".join(items)}],"next":{to_json(following).decode()}}}')
