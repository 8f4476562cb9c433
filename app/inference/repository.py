"""The index of the model repository: every model that a caller may see, and what of it is in this process's memory."""

from collections.abc import Iterator
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.datastructures import State

from app.core.access import Caller
from app.registry.queries import Filters, references_of, select_models
from app.runtimes.cache import Phase, VersionState

_PAGE = 200
_STATES = {Phase.READY: "READY", Phase.FAILED: "UNAVAILABLE"}
_LOADING = "LOADING"

Entry = dict[str, str]


async def index_models(state: State, caller: Caller) -> list[Entry]:
    """An entry for each version that is routed or in memory, and one for each other model."""
    states = state.models.states()
    routed = {version_id for route in state.routes.all() for version_id in route.version_ids}
    async with state.database.reads() as session:
        references = await references_of(session, states.keys() | routed)
        models = await _names_of_models(session, caller)
    entries = list(_entries_of_versions(references, states, caller))
    indexed = {entry["name"] for entry in entries}
    return entries + [_unserved(name) for name in models if name not in indexed]


async def _names_of_models(session: AsyncSession, caller: Caller) -> list[str]:
    names: list[str] = []
    after = None
    while page := [
        model.name for model in await session.scalars(select_models(caller, Filters(), after, _PAGE))
    ]:
        names += page
        after = page[-1]
    return names


def _entries_of_versions(
    references: dict[UUID, str], states: dict[UUID, VersionState], caller: Caller
) -> Iterator[Entry]:
    for version_id, reference in sorted(references.items(), key=lambda item: item[1]):
        name, _, number = reference.partition(":")
        if caller.sees(name):
            phase, reason = _standing(states.get(version_id))
            yield {"name": name, "version": number, "state": phase, "reason": reason}


def _standing(state: VersionState | None) -> tuple[str, str]:
    return (_LOADING, "") if state is None else (_STATES.get(state.phase, _LOADING), state.reason)


def _unserved(name: str) -> Entry:
    return {"name": name, "version": "", "state": "UNAVAILABLE", "reason": "no version of it serves"}
